//! What lies in `deploy/` is what Kubernetes, systemd and the agent itself understand.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent_tests::deploy::{self, yaml, yaml_files};
use leak_agent_tests::{agent, programs, tools};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The oldest Kubernetes that knows every field that is used, and the newest there is a schema of.
const KUBERNETES: [&str; 2] = ["1.30.0", "1.37.0"];

fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Checks files against the schemas of one version, unknown fields included.
fn validate(version: &str, files: &[PathBuf]) -> Output {
    tools::kubernetes_validate()
        .args(["--strict", "--kubernetes-version", version])
        .args(files)
        .output()
        .unwrap()
}

/// The schemas that come with Kubernetes know these kinds; the others are not of Kubernetes itself.
fn is_of_kubernetes(manifest: &Value) -> bool {
    !["PodMonitor", "PrometheusRule", "Kustomization"].contains(&manifest["kind"].as_str().unwrap())
}

/// Every manifest is what Kubernetes of old and new versions takes; a misspelt field is noticed.
#[test]
fn manifests_fit_the_schemas_of_kubernetes() {
    let mut files = yaml_files(&deploy::path("kubernetes"));
    files.retain(|file| is_of_kubernetes(&yaml(file)));
    assert!(files.len() >= 4, "{files:?}");
    for version in KUBERNETES {
        let output = validate(version, &files);
        assert!(output.status.success(), "{version}: {}", said(&output));
    }
    let good = fs::read_to_string(deploy::path("kubernetes/daemonset.yaml")).unwrap();
    let misspelt = programs::scratch("misspelt-manifest").join("daemonset.yaml");
    fs::write(&misspelt, good.replace("hostPID:", "hostPid:")).unwrap();
    let output = validate(KUBERNETES[1], &[misspelt]);
    assert!(!output.status.success(), "{}", said(&output));
}

/// The monitor has no fields that the Prometheus operator does not know, as far as it is used here.
#[test]
fn pod_monitor_fits_its_schema() {
    let schema = include_str!("../fixtures/pod-monitor.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let mut monitor = yaml(&deploy::path("kubernetes/podmonitor.yaml"));
    let wrong: Vec<String> = schema
        .iter_errors(&monitor)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert_eq!(wrong, [] as [&str; 0]);
    monitor["spec"]["podMetricsEndpoints"][0]["portName"] = "http".into();
    assert!(!schema.is_valid(&monitor), "a misspelt field is not noticed");
}

/// The monitor and the network policy mean the pods and the port of the DaemonSet; kustomize applies every file; all are of
/// the same namespace.
#[test]
fn manifests_belong_together() {
    let folder = deploy::path("kubernetes");
    let of = |file: &str| yaml(&folder.join(file));
    let (daemonset, monitor, policy) = (
        of("daemonset.yaml"),
        of("podmonitor.yaml"),
        of("networkpolicy.yaml"),
    );
    let labels = &daemonset["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&daemonset["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&monitor["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
    let port = &deploy::pod()["containers"][0]["ports"][0]["name"];
    assert_eq!(&monitor["spec"]["podMetricsEndpoints"][0]["port"], port);
    assert_eq!(&policy["spec"]["ingress"][0]["ports"][0]["port"], port);
    let job = &labels[monitor["spec"]["jobLabel"].as_str().unwrap()];
    assert_eq!(job, "leak-agent", "the rules ask for another job");
    let kustomization = of("kustomization.yaml");
    let mut applied: Vec<_> = kustomization["resources"].as_array().unwrap().iter().collect();
    applied.sort_by_key(|file| file.as_str());
    let files = yaml_files(&folder);
    let files: Vec<_> = files
        .iter()
        .filter_map(|file| file.file_name()?.to_str())
        .collect();
    let others: Vec<_> = files
        .into_iter()
        .filter(|file| *file != "kustomization.yaml")
        .collect();
    assert_eq!(applied, others);
    for file in others.into_iter().filter(|file| *file != "namespace.yaml") {
        assert_eq!(
            of(file)["metadata"]["namespace"],
            kustomization["namespace"],
            "{file}"
        );
    }
}

/// The pod has no more rights than it needs and asks for nothing of the node's file system; what it is told is what the agent
/// understands.
#[test]
fn pod_is_unprivileged_and_speaks_the_agents_language() {
    let pod = deploy::pod();
    let container = &pod["containers"][0];
    assert_eq!(pod["hostPID"], true);
    for (what, want) in [
        ("privileged", false),
        ("allowPrivilegeEscalation", false),
        ("readOnlyRootFilesystem", true),
    ] {
        assert_eq!(container["securityContext"][what], want, "{what}");
    }
    let volumes = pod["volumes"].as_array().unwrap();
    assert!(
        volumes.iter().all(|volume| volume["hostPath"].is_null()),
        "{volumes:?}"
    );
    for absent in ["hostNetwork", "hostIPC"] {
        assert_eq!(pod[absent], Value::Null, "{absent}");
    }
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["tolerations"], serde_json::json!([{"operator": "Exists"}]));
    let help = agent::run(&["run", "--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    let environment = container["env"].as_array().unwrap();
    for variable in environment {
        let name = variable["name"].as_str().unwrap();
        assert!(
            help.contains(&format!("[env: {name}=")),
            "{name} is no variable of the agent"
        );
    }
    let listen = environment
        .iter()
        .find(|of| of["name"] == "LEAK_AGENT_LISTEN")
        .unwrap();
    let port = &container["ports"][0]["containerPort"];
    assert_eq!(listen["value"], format!("0.0.0.0:{port}"));
    let image = format!("leak-agent:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container["image"], image);
}

/// The configuration that comes with the manifests is one that the agent takes without a remark; the pod finds it where it
/// looks for it.
#[test]
fn configuration_of_the_pod_is_one_that_the_agent_takes() {
    let file = deploy::path("kubernetes/leak-agent.toml");
    let output = agent::run(&["config".as_ref(), "check".as_ref(), file.as_os_str()]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        said(&output)
    );
    let generator = &yaml(&deploy::path("kubernetes/kustomization.yaml"))["configMapGenerator"][0];
    assert_eq!(generator["files"], serde_json::json!(["leak-agent.toml"]));
    let pod = deploy::pod();
    assert_eq!(pod["volumes"][0]["configMap"]["name"], generator["name"]);
    let container = &pod["containers"][0];
    let environment = container["env"].as_array().unwrap();
    let config = environment
        .iter()
        .find(|of| of["name"] == "LEAK_AGENT_CONFIG")
        .unwrap();
    let mounted = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    assert_eq!(config["value"], format!("{mounted}/leak-agent.toml"));
}

/// The unit with the agent that there is; where it is to be installed, there is none.
fn unit(test: &str, change: impl FnOnce(String) -> String) -> PathBuf {
    let text = fs::read_to_string(deploy::path("systemd/leak-agent.service")).unwrap();
    let agent = agent::binary();
    let text = text.replace(
        "/usr/bin/leak-agent",
        &std::path::absolute(agent).unwrap().to_string_lossy(),
    );
    let path = programs::scratch(test).join("leak-agent.service");
    fs::write(&path, change(text)).unwrap();
    path
}

fn verify(unit: &Path) -> Output {
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(unit)
        .output();
    output.expect("systemd-analyze of systemd")
}

/// systemd understands the unit without a remark, and rates it at most 3 of 10 (what is left is what the agent needs); a
/// misspelt setting is noticed.
#[test]
fn unit_is_understood_and_confined() {
    let good = unit("unit-good", |text| text);
    let output = verify(&good);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        said(&output)
    );
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--threshold=30", "--no-pager"])
        .arg(&good)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let misspelt = unit("unit-misspelt", |text| {
        text.replace("ProtectSystem=", "ProtectSystems=")
    });
    let output = verify(&misspelt);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("ProtectSystems"),
        "{}",
        said(&output)
    );
}

/// Every variable of the unit's environment file is one of the agent's.
#[test]
fn environment_file_speaks_the_agents_language() {
    let text = fs::read_to_string(deploy::path("systemd/leak-agent.default")).unwrap();
    let help = agent::run(&["run", "--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    let assignments = text.lines().map(|line| line.trim_start_matches('#'));
    let names: Vec<_> = assignments
        .filter_map(|line| {
            line.split_once('=')
                .filter(|(name, _)| name.starts_with("LEAK_AGENT_"))
        })
        .collect();
    assert!(!names.is_empty());
    for (name, _) in names {
        assert!(
            help.contains(&format!("[env: {name}=")),
            "{name} is no variable of the agent"
        );
    }
}
