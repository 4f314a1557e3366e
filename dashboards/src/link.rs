//! Links from a value to the board that tells more. They carry variables and the time range.

/// A board that a link leads to, and the variables that it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Text of the link.
    pub title: &'static str,
    /// Uid of the board.
    pub uid: &'static str,
    /// Variables of that board and where their values come from.
    pub pass: &'static [(&'static str, Source)],
}

/// Where the value of a passed variable comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The variable of the same name on this board, all its values.
    Same,
    /// Another field of the same table row, by its title.
    Field(&'static str),
    /// A label of the series.
    Label(&'static str),
}

impl Link {
    /// The address, for Grafana to fill in.
    #[must_use]
    pub fn url(&self) -> String {
        let variables = self.pass.iter().map(|(name, source)| match source {
            Source::Same => format!("${{{name}:queryparam}}"),
            // Left to itself, Grafana leaves what separates in an address as it is (`&`, `#`, `+`), and
            // a name may have it.
            Source::Field(title) => {
                format!("var-{name}=${{__data.fields[\"{title}\"]:percentencode}}")
            }
            Source::Label(label) => format!("var-{name}=${{__field.labels.{label}:percentencode}}"),
        });
        let query: Vec<_> = variables.chain(["${__url_time_range}".to_owned()]).collect();
        format!("/d/{}?{}", self.uid, query.join("&"))
    }
}

/// The Pod of a table row.
pub const POD: Link = Link {
    title: "Pod vitals of this Pod",
    uid: "podvitals-pod",
    pass: &[
        ("datasource", Source::Same),
        ("cluster", Source::Same),
        ("node", Source::Field("Node")),
        ("namespace", Source::Field("Namespace")),
        ("pod", Source::Field("Pod")),
    ],
};

/// The Pod of a table row on a board of one node.
pub const POD_OF_NODE: Link = Link {
    title: "Pod vitals of this Pod",
    uid: "podvitals-pod",
    pass: &[
        ("datasource", Source::Same),
        ("cluster", Source::Same),
        ("node", Source::Same),
        ("namespace", Source::Field("Namespace")),
        ("pod", Source::Field("Pod")),
    ],
};

/// The node of a table row.
pub const NODE: Link = Link {
    title: "Node of this row",
    uid: "podvitals-node",
    pass: &[
        ("datasource", Source::Same),
        ("cluster", Source::Same),
        ("node", Source::Field("Node")),
    ],
};

/// The workload of a table row, and its shutdowns.
pub const SHUTDOWNS: Link = Link {
    title: "Shutdowns and restarts of this workload",
    uid: "podvitals-shutdowns",
    pass: &[
        ("datasource", Source::Same),
        ("cluster", Source::Same),
        ("namespace", Source::Field("Namespace")),
        ("workload", Source::Field("Workload")),
    ],
};

/// The workload of a table row, and its deaths.
pub const DEATHS: Link = Link {
    title: "Deaths of this workload",
    uid: "podvitals-why",
    pass: &[
        ("datasource", Source::Same),
        ("cluster", Source::Same),
        ("namespace", Source::Field("Namespace")),
        ("workload", Source::Field("Workload")),
    ],
};

/// The Pod of a series.
pub const POD_OF_SERIES: Link = Link {
    title: "Pod vitals of this Pod",
    uid: "podvitals-pod",
    pass: &[
        ("datasource", Source::Same),
        ("cluster", Source::Same),
        ("node", Source::Label("node")),
        ("namespace", Source::Label("namespace")),
        ("pod", Source::Label("pod")),
    ],
};

/// The workload of a series, and its deaths.
pub const DEATHS_OF_SERIES: Link = Link {
    title: "Deaths of this workload",
    uid: "podvitals-why",
    pass: &[
        ("datasource", Source::Same),
        ("cluster", Source::Same),
        ("namespace", Source::Label("namespace")),
        ("workload", Source::Label("workload")),
    ],
};

/// The node of a series.
pub const NODE_OF_SERIES: Link = Link {
    title: "This node",
    uid: "podvitals-node",
    pass: &[
        ("datasource", Source::Same),
        ("cluster", Source::Same),
        ("node", Source::Label("node")),
    ],
};
