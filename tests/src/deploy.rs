//! What lies in `deploy/`, as data.

use crate::programs::root;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// `deploy/` and a path below it.
#[must_use]
pub fn path(below: &str) -> PathBuf {
    root().join("deploy").join(below)
}

/// A YAML file with one document.
#[must_use]
pub fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The YAML files of a folder, sorted by name.
#[must_use]
pub fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

/// The pod that the DaemonSet makes: `spec.template.spec`.
#[must_use]
pub fn pod() -> Value {
    yaml(&path("kubernetes/daemonset.yaml"))["spec"]["template"]["spec"].clone()
}

/// The capabilities that the DaemonSet's container has, as Kubernetes names them: "SYS_PTRACE".
#[must_use]
pub fn pod_capabilities() -> BTreeSet<String> {
    let pod = pod();
    let capabilities = &pod["containers"][0]["securityContext"]["capabilities"];
    assert_eq!(capabilities["drop"], serde_json::json!(["ALL"]), "{capabilities}");
    let added = capabilities["add"].as_array().unwrap();
    added
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

/// The values of a setting of the systemd unit, one for each line of it.
#[must_use]
pub fn unit_setting(name: &str) -> Vec<String> {
    let text = fs::read_to_string(path("systemd/leak-agent.service")).unwrap();
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}
