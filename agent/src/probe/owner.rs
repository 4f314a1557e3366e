//! Owners: the containers whose probes a connection can be of. Pure.

use super::hooks::Known;
use super::instance::Doubt;
use super::request::Request;
use super::targets::{self, Found};
use crate::cgroup::CgroupId;
use crate::event::Connection;

impl Known<'_> {
    /// The containers that were there when a connection began, of those whose probes it can be of.
    pub(super) fn there<'b, 'c>(
        &self,
        connection: &Connection,
        found: &'b [Found<'c>],
    ) -> Vec<(CgroupId, &'b Found<'c>)> {
        let at = connection.start_boot_ns;
        let is_there =
            |it: &'b Found<'c>| Some((self.instances.at(it.known, &it.container.name, at)?, it));
        found.iter().filter_map(is_there).collect()
    }
}

/// What a connection may be instead of a probe of the one container. `has_rival`: it can be that of
/// another Pod that asks here, too.
pub(super) fn doubt(
    connection: &Connection,
    request: &Request,
    found: &Found<'_>,
    has_rival: bool,
) -> Doubt {
    let may_be_none = found.known.pod.host_network
        && found.probes.iter().all(|it| targets::may_be_none(connection, request, it));
    Doubt { may_be_none, has_rival }
}
