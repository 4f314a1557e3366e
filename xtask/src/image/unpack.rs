//! Image archives, read again: every digest, size and name that a runtime relies on.

use std::{collections::BTreeMap, io::Read as _};

use anyhow::{Context as _, Result, bail};
use flate2::read::GzDecoder;
use serde_json::Value;

use super::archive::{blob_path, digest};

/// An image as a runtime finds it in an archive.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// The whole reference.
    pub(crate) name: String,
    /// The image's configuration.
    pub(crate) config: Value,
    /// Its layer, a tar.
    pub(crate) layer: Vec<u8>,
}

/// The images of an archive, both by the OCI layout and by Docker's list, which must agree.
pub(crate) fn images(archive: &[u8]) -> Result<Vec<Unpacked>> {
    let files = files(archive)?;
    let layout = text(&json(&files, "oci-layout")?, "/imageLayoutVersion")?;
    if layout != "1.0.0" {
        bail!("an OCI layout of version {layout}");
    }
    let index = json(&files, "index.json")?;
    let docker = json(&files, "manifest.json")?;
    let manifests = index.get("manifests").and_then(Value::as_array).context("no manifests")?;
    let listed = docker.as_array().context("manifest.json: no list")?;
    if manifests.len() != listed.len() {
        bail!("{} images in the index, {} in manifest.json", manifests.len(), listed.len());
    }
    manifests.iter().zip(listed).map(|(entry, listed)| image(&files, entry, listed)).collect()
}

fn image(files: &BTreeMap<String, Vec<u8>>, entry: &Value, docker: &Value) -> Result<Unpacked> {
    let name = text(entry, "/annotations/io.containerd.image.name")?;
    let read = || format!("image {name}");
    let manifest: Value =
        serde_json::from_slice(blob(files, entry).with_context(read)?).with_context(read)?;
    let config_at = manifest.pointer("/config").context("no config").with_context(read)?;
    let layer_at = manifest.pointer("/layers/0").context("no layer").with_context(read)?;
    let config: Value =
        serde_json::from_slice(blob(files, config_at).with_context(read)?).with_context(read)?;
    let mut layer = Vec::new();
    GzDecoder::new(blob(files, layer_at).with_context(read)?)
        .read_to_end(&mut layer)
        .with_context(read)?;
    let diff_id = text(&config, "/rootfs/diff_ids/0").with_context(read)?;
    if digest(&layer) != diff_id {
        bail!("image {name}: the layer's digest is {}, not {diff_id}", digest(&layer));
    }
    let same = [
        (text(docker, "/RepoTags/0")?, name.clone()),
        (text(docker, "/Config")?, blob_path(config_at)?),
        (text(docker, "/Layers/0")?, blob_path(layer_at)?),
    ];
    if let Some((theirs, ours)) = same.iter().find(|(theirs, ours)| theirs != ours) {
        bail!("image {name}: manifest.json says {theirs}, the index {ours}");
    }
    Ok(Unpacked { name, config, layer })
}

/// The content that a descriptor describes, if digest and size are right.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Result<&'a [u8]> {
    let path = blob_path(descriptor)?;
    let bytes = files.get(&path).with_context(|| format!("no {path}"))?;
    let size = descriptor.get("size").and_then(Value::as_u64);
    if size != u64::try_from(bytes.len()).ok() {
        bail!("{path}: {} bytes, not {size:?}", bytes.len());
    }
    if blob_path(&serde_json::json!({ "digest": digest(bytes) }))? != path {
        bail!("{path}: the content's digest is {}", digest(bytes));
    }
    Ok(bytes)
}

/// The regular files of a tar archive by their path.
fn files(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().context("read the archive")? {
        let mut entry = entry.context("read the archive")?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().context("a path in the archive")?.display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).with_context(|| format!("read {path}"))?;
        files.insert(path, bytes);
    }
    Ok(files)
}

fn json(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Result<Value> {
    let bytes = files.get(path).with_context(|| format!("no {path} in the archive"))?;
    serde_json::from_slice(bytes).with_context(|| path.to_owned())
}

/// The text at `pointer` (a JSON pointer; no name of ours has a slash or a tilde).
fn text(value: &Value, pointer: &str) -> Result<String> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    Ok(text.with_context(|| format!("no text at {pointer}"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            archive::{Config, Image, archive},
            layer::{Capability, File},
        },
        *,
    };

    fn image(name: &str) -> Image {
        let mut program = File::program("p", b"program".to_vec());
        program.capabilities = vec![Capability::BPF];
        Image {
            name: name.to_owned(),
            files: vec![program],
            config: Config {
                user: "65534:65534".to_owned(),
                entrypoint: vec!["/p".to_owned()],
                command: vec!["agent".to_owned()],
                exposed_ports: vec!["9550/tcp".to_owned()],
                labels: [("a.b".to_owned(), "c".to_owned())].into(),
                stop_signal: Some("SIGQUIT".to_owned()),
            },
        }
    }

    #[test]
    fn an_archive_is_read_as_it_was_written() {
        let two = archive(&[image("registry.example/p:1"), image("registry.example/p:2")]).unwrap();
        let read = images(&two).unwrap();
        let names: Vec<&str> = read.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(names, ["registry.example/p:1", "registry.example/p:2"]);
        let config = read[0].config.pointer("/config").unwrap();
        let expected = serde_json::json!({
            "User": "65534:65534",
            "WorkingDir": "/",
            "Entrypoint": ["/p"],
            "Cmd": ["agent"],
            "ExposedPorts": { "9550/tcp": {} },
            "Labels": { "a.b": "c" },
            "StopSignal": "SIGQUIT",
        });
        assert_eq!(config, &expected);
        assert_eq!(files(&read[1].layer).unwrap()["p"], b"program");
        assert_eq!(
            two,
            archive(&[image("registry.example/p:1"), image("registry.example/p:2")]).unwrap()
        );
        // What both have in common is there once: three files of the layout, one layer, one
        // configuration and one manifest.
        assert_eq!(files(&two).unwrap().len(), 6);
    }

    #[test]
    fn a_changed_byte_is_found() {
        let good = archive(&[image("p:1")]).unwrap();
        let mut damaged = 0;
        let names = files(&good).unwrap();
        for bytes in names.iter().filter(|(path, _)| path.starts_with("blobs/")).map(|it| it.1) {
            let at = good.windows(bytes.len()).position(|window| window == bytes).unwrap();
            let mut bad = good.clone();
            bad[at + bytes.len() / 2] ^= 1;
            images(&bad).unwrap_err();
            damaged += 1;
        }
        assert_eq!(damaged, 3);
        images(&good).unwrap();
    }
}
