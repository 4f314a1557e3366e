//! A cgroup tree as the kubelet and a container runtime make it, with the log links that name the
//! containers.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::cgroup;
use crate::scrape::Key;

/// A node's cgroups below a root of ours, and its folder of log links. Dropped, its cgroups are
/// removed.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    made_root: bool,
    log_dir: PathBuf,
    namespace: String,
}

impl Tree {
    /// Makes `<root>/kubepods.slice/kubepods-burstable.slice` and the folder, for Pods of one
    /// namespace. The root is made, and removed in the end, if it is missing.
    ///
    /// # Errors
    /// If the root is not in a cgroup v2 hierarchy, or already holds Pods.
    pub fn make(root: &Path, log_dir: &Path, namespace: &str) -> Result<Self> {
        let kubepods = root.join("kubepods.slice");
        ensure!(
            !kubepods.exists(),
            "{} exists: give a cgroup of its own with --cgroup-root",
            kubepods.display()
        );
        let made_root = !root.exists();
        // The old hierarchies are none of our business.
        cgroup::controllers(if made_root { root.parent().unwrap_or(root) } else { root })?;
        if made_root {
            cgroup::make(root)?;
        }
        // From here on, Drop removes what is there.
        let (root, log_dir) = (root.to_owned(), log_dir.to_owned());
        let tree = Self { root, made_root, log_dir, namespace: namespace.to_owned() };
        fs::create_dir_all(&tree.log_dir)
            .with_context(|| format!("make {}", tree.log_dir.display()))?;
        cgroup::turn_on_controllers(&tree.root)?;
        for dir in [kubepods, tree.burstable()] {
            cgroup::make(&dir)?;
            cgroup::turn_on_controllers(&dir)?;
        }
        Ok(tree)
    }

    /// The root that the agent is told.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of log links that the agent is told.
    #[must_use]
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// The parent of its Pods.
    #[must_use]
    pub fn burstable(&self) -> PathBuf {
        self.root.join("kubepods.slice/kubepods-burstable.slice")
    }

    /// Makes the cgroup of a Pod with a UID of its own.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        let digits = hex(32);
        let cut = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
        let parts = [cut(0, 8), cut(8, 12), cut(12, 16), cut(16, 20), cut(20, 32)];
        self.pod_with_uid(name, parts.join("-"))
    }

    /// Makes the cgroup of a Pod with this UID.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn pod_with_uid(&self, name: &str, uid: String) -> Result<Pod> {
        // systemd's names have underscores for dashes.
        let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        let dir = self.burstable().join(slice);
        cgroup::make(&dir)?;
        cgroup::turn_on_controllers(&dir)?;
        let (name, namespace) = (name.to_owned(), self.namespace.clone());
        Ok(Pod { name, uid, dir, namespace, log_dir: self.log_dir.clone() })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let kubepods = self.root.join("kubepods.slice");
        left_behind(cgroup::remove(if self.made_root { &self.root } else { &kubepods }));
    }
}

/// The cgroup of a Pod. Dropped, it is removed with its containers'.
#[derive(Debug)]
pub struct Pod {
    /// Name of the Pod.
    pub name: String,
    /// UID of the Pod, with dashes.
    pub uid: String,
    /// Directory of its cgroup.
    pub dir: PathBuf,
    namespace: String,
    log_dir: PathBuf,
}

impl Pod {
    /// Makes the cgroup and the log link of a container, without a process.
    ///
    /// # Errors
    /// If one of them cannot be made.
    pub fn container(&self, name: &str) -> Result<Container> {
        self.container_with_id(name, hex(64))
    }

    /// Makes the cgroup and the log link of a container with this id, without a process.
    ///
    /// # Errors
    /// If one of them cannot be made.
    pub fn container_with_id(&self, name: &str, id: String) -> Result<Container> {
        let mut container = self.without_link(name, id)?;
        container.link()?;
        Ok(container)
    }

    /// Makes the cgroup of a container that nothing names.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn container_without_link(&self, name: &str) -> Result<Container> {
        self.without_link(name, hex(64))
    }

    fn without_link(&self, name: &str, id: String) -> Result<Container> {
        let dir = self.dir.join(format!("cri-containerd-{id}.scope"));
        cgroup::make(&dir)?;
        let Self { name: pod, namespace, .. } = self;
        Ok(Container {
            link: None,
            link_path: self.log_dir.join(format!("{pod}_{namespace}_{name}-{id}.log")),
            key: Key { namespace: namespace.clone(), pod: pod.clone(), container: name.into() },
            pod_uid: self.uid.clone(),
            id,
            dir,
        })
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        left_behind(cgroup::remove(&self.dir));
    }
}

/// The cgroup and the log link of a container. Dropped, both are removed.
#[derive(Debug)]
pub struct Container {
    /// Labels of its series.
    pub key: Key,
    /// UID of its Pod, with dashes.
    pub pod_uid: String,
    /// Container id: 64 hexadecimal digits.
    pub id: String,
    /// Directory of its cgroup.
    pub dir: PathBuf,
    link: Option<PathBuf>,
    link_path: PathBuf,
}

impl Container {
    /// Makes the log link that names it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn link(&mut self) -> Result<()> {
        // The kubelet's links point into /var/log/pods; nobody follows ours.
        symlink("/dev/null", &self.link_path)
            .with_context(|| format!("make {}", self.link_path.display()))?;
        self.link = Some(self.link_path.clone());
        Ok(())
    }

    /// Writes a file of its cgroup.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn set(&self, file: &str, value: &str) -> Result<()> {
        cgroup::write(&self.dir.join(file), value)
    }

    /// Reads a file of its cgroup.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self, file: &str) -> Result<String> {
        cgroup::read(&self.dir.join(file))
    }

    /// Reads a file of its cgroup that is one number.
    ///
    /// # Errors
    /// If it is not.
    pub fn read_number(&self, file: &str) -> Result<u64> {
        let text = self.read(file)?;
        text.trim().parse().with_context(|| format!("{file} of {}: {text:?}", self.dir.display()))
    }

    /// Reads the line `field <number>` of a file of its cgroup.
    ///
    /// # Errors
    /// If there is no such line.
    pub fn read_field(&self, file: &str, field: &str) -> Result<u64> {
        cgroup::read_field(&self.dir.join(file), field)
    }

    /// Removes its cgroup, as the runtime does soon after the end. The link stays, as the kubelet's
    /// does until the container is removed for good.
    ///
    /// # Errors
    /// If something keeps it.
    pub fn remove_cgroup(&self) -> Result<()> {
        cgroup::remove(&self.dir)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        left_behind(self.remove_cgroup());
        if let Some(link) = &self.link {
            // Gone with the folder already: nothing to do.
            let _ = fs::remove_file(link);
        }
    }
}

/// Tells what a drop could not remove.
fn left_behind(result: Result<()>) {
    if let Err(error) = result {
        crate::note::note(format_args!("left behind: {error:#}"));
    }
}

/// That many hexadecimal digits, not seen before on this machine.
fn hex(digits: usize) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut seed = u64::from(now.subsec_nanos()) << 32 ^ now.as_secs();
    seed ^= u64::from(std::process::id()) << 16;
    let mut text = String::new();
    while text.len() < digits {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        text.push_str(&format!("{:016x}", split_mix(seed, count)));
    }
    text.truncate(digits);
    text
}

/// The number after so many others of SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix(seed: u64, count: u64) -> u64 {
    let z = seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Cgroup;

    #[test]
    fn ids_have_their_length_and_differ() {
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| hex(64)).collect();
        assert_eq!(ids.len(), 1000);
        let good = |id: &String| id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit());
        assert!(ids.iter().all(good));
    }

    #[test]
    fn a_folder_is_refused_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        for root in [folder.path().to_owned(), folder.path().join("root")] {
            let error = Tree::make(&root, &folder.path().join("logs"), "x").unwrap_err();
            assert!(error.to_string().contains("cgroup v2"), "{error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_tree_has_the_kubelets_shape_and_goes() {
        let Some(root) = Cgroup::for_test("tree") else { return };
        let logs = tempfile::tempdir().unwrap();
        let tree = Tree::make(root.dir(), logs.path(), "shop").unwrap();
        Tree::make(root.dir(), logs.path(), "shop").unwrap_err();
        let pod = tree.pod("web").unwrap();
        let mut container = pod.container_without_link("app").unwrap();
        let inside = container.dir.strip_prefix(root.dir()).unwrap().to_str().unwrap();
        let uid = pod.uid.replace('-', "_");
        assert_eq!(
            inside,
            format!(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/\
                 cri-containerd-{}.scope",
                container.id
            )
        );
        let links = || fs::read_dir(logs.path()).unwrap().flatten().map(|it| it.file_name());
        assert_eq!(links().count(), 0);
        container.link().unwrap();
        let named = format!("web_shop_app-{}.log", container.id);
        assert!(links().eq([std::ffi::OsString::from(named)]));
        assert_eq!(container.key.namespace, "shop");
        assert_eq!(container.read_field("cgroup.events", "populated").unwrap(), 0);
        container.set("cgroup.max.depth", "7").unwrap();
        assert_eq!(container.read_number("cgroup.max.depth").unwrap(), 7);
        container.remove_cgroup().unwrap();
        assert!(!container.dir.exists() && links().count() == 1);
        drop(pod);
        drop(container);
        assert_eq!(links().count(), 0);
        drop(tree);
        assert!(root.dir().exists() && !root.dir().join("kubepods.slice").exists());
        let made = root.dir().join("made");
        drop(Tree::make(&made, logs.path(), "shop").unwrap());
        assert!(!made.exists());
    }
}
