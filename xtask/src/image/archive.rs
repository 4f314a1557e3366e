//! Image archives, made without an engine: an OCI image layout (opencontainers/image-spec 1.1,
//! image-layout.md) in a tar, with the `manifest.json` of `docker save` beside it. Read by
//! `ctr images import`, `docker load`, `podman load`, `kind load image-archive` and skopeo.

use std::{collections::BTreeMap, env, io::Write as _};

use anyhow::{Context as _, Result};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::layer::{self, File};
use crate::apt;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Nobody's user ("nobody" of most distributions).
pub const USER: u32 = 65534;

/// An image of one layer.
#[derive(Clone, Debug)]
pub struct Image {
    /// The whole reference, with registry and tag: `registry.example/name:tag`.
    pub name: String,
    /// What is in it.
    pub files: Vec<File>,
    /// How it is run.
    pub config: Config,
}

/// What a runtime does with an image when nothing else is said.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `uid:gid`; empty is root.
    pub user: String,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// What is appended to it.
    pub command: Vec<String>,
    /// `port/protocol`, for people.
    pub exposed_ports: Vec<String>,
    /// For people and scanners.
    pub labels: BTreeMap<String, String>,
    /// What stops it, if not SIGTERM.
    pub stop_signal: Option<String>,
}

/// One archive of all `images`; what they have in common is in it once. The same images give the
/// same bytes: all times are `SOURCE_DATE_EPOCH`, else 0.
pub fn archive(images: &[Image]) -> Result<Vec<u8>> {
    let mtime = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().with_context(|| format!("SOURCE_DATE_EPOCH={text}: no number"))?,
        Err(_) => 0,
    };
    let mut blobs = Blobs::default();
    let mut manifests = Vec::new();
    let mut docker = Vec::new();
    for image in images {
        let layer = layer::tar(&image.files, mtime).with_context(|| image.name.clone())?;
        let diff_id = digest(&layer);
        let layer = blobs.add(LAYER, gzip(&layer)?)?;
        let config = blobs.add(CONFIG, json_bytes(&image.config.json(&diff_id)?)?)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
        });
        let mut entry = blobs.add(MANIFEST, json_bytes(&manifest)?)?;
        let annotations = json!({
            // containerd and Docker take the whole name from the first, others the tag from the
            // second (image-spec, annotations.md).
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": tag(&image.name)?,
        });
        if let Some(entry) = entry.as_object_mut() {
            entry.insert("annotations".to_owned(), annotations);
            entry.insert("platform".to_owned(), platform());
        }
        manifests.push(entry);
        docker.push(json!({
            "Config": blob_path(&config)?,
            "RepoTags": [image.name],
            "Layers": [blob_path(&layer)?],
        }));
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let mut files = blobs.0;
    files.insert("index.json".to_owned(), json_bytes(&index)?);
    files.insert("manifest.json".to_owned(), json_bytes(&Value::Array(docker))?);
    files.insert("oci-layout".to_owned(), json_bytes(&json!({ "imageLayoutVersion": "1.0.0" }))?);
    let files: Vec<File> = files
        .into_iter()
        .map(|(path, bytes)| File { path, mode: 0o644, bytes, capabilities: Vec::new() })
        .collect();
    layer::tar(&files, mtime).context("the archive")
}

impl Config {
    fn json(&self, diff_id: &str) -> Result<Value> {
        let ports: BTreeMap<&str, Value> =
            self.exposed_ports.iter().map(|port| (port.as_str(), json!({}))).collect();
        let mut config = json!({ "WorkingDir": "/" });
        let fields = config.as_object_mut().context("no object")?;
        if !self.user.is_empty() {
            fields.insert("User".to_owned(), json!(self.user));
        }
        if !ports.is_empty() {
            fields.insert("ExposedPorts".to_owned(), json!(ports));
        }
        for (name, words) in [("Entrypoint", &self.entrypoint), ("Cmd", &self.command)] {
            if !words.is_empty() {
                fields.insert(name.to_owned(), json!(words));
            }
        }
        if !self.labels.is_empty() {
            fields.insert("Labels".to_owned(), json!(self.labels));
        }
        if let Some(signal) = &self.stop_signal {
            fields.insert("StopSignal".to_owned(), json!(signal));
        }
        let mut all = platform();
        let fields = all.as_object_mut().context("no object")?;
        fields.insert("config".to_owned(), config);
        fields.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": [diff_id] }));
        Ok(all)
    }
}

/// Files of the archive by their path.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Keeps `bytes` under their digest and gives their descriptor.
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Result<Value> {
        let descriptor =
            json!({ "mediaType": media_type, "digest": digest(&bytes), "size": bytes.len() });
        self.0.insert(blob_path(&descriptor)?, bytes);
        Ok(descriptor)
    }
}

/// Where the archive has what a descriptor describes.
pub(crate) fn blob_path(descriptor: &Value) -> Result<String> {
    let digest = descriptor.get("digest").and_then(Value::as_str).context("no digest")?;
    Ok(format!("blobs/{}", digest.replacen(':', "/", 1)))
}

/// `sha256:…`
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The image of the machine that built it; Debian calls architectures as Go does.
fn platform() -> Value {
    json!({ "os": "linux", "architecture": apt::debian_arch() })
}

/// What is after the last colon, which a port of the registry is not.
fn tag(name: &str) -> Result<&str> {
    let tag = name.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'));
    tag.with_context(|| format!("{name}: an image's name needs a tag: {name}:1"))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    // No name and no time in the header.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).context("compress a layer")?;
    encoder.finish().context("compress a layer")
}

fn json_bytes(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("write JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_a_tag() {
        assert_eq!(tag("registry.example:5000/a/b:v1").unwrap(), "v1");
        for wrong in ["a", "registry.example:5000/a", ""] {
            tag(wrong).unwrap_err();
        }
    }

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        let known = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(b""), known);
    }
}
