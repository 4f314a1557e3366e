//! Value of a flag that is a URL, which may hold a password.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;

use crate::kube::source::parse_url;

/// Parser of a URL whose errors do not repeat the value, as clap's own would.
#[derive(Clone, Copy, Debug)]
pub(super) struct UrlParser;

impl TypedValueParser for UrlParser {
    type Value = http::Uri;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<http::Uri, clap::Error> {
        parse_url(value.to_str().unwrap_or_default()).map_err(|why| {
            let flag = argument.map(ToString::to_string).unwrap_or_default();
            let text = format!("invalid value for '{flag}': {why}\n");
            clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}
