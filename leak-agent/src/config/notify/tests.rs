use super::*;

fn read(text: &str) -> Result<NotifyConfig, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        notify: NotifySection,
        #[serde(default)]
        receiver: Vec<ReceiverSection>,
    }
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    NotifyConfig::from_sections(file.notify, file.receiver).map_err(|error| error.to_string())
}

/// Nothing written: findings are logged, and nobody else is told.
#[test]
fn empty_file_tells_the_log_only() {
    let config = read("").unwrap();
    assert!(config.log && config.receivers.is_empty());
    assert_eq!(
        config.state_dir.unwrap().to_str(),
        Some(NotifyConfig::DEFAULT_STATE_DIR)
    );
}

/// Each kind with the least that it needs has its defaults.
#[test]
fn receiver_of_each_kind_needs_little() {
    let config = read(
        r#"
        [[receiver]]
        name = "hook"
        kind = "webhook"
        url = "https://ops.example/hook?x=1"
        [[receiver]]
        name = "am"
        kind = "alertmanager"
        url_file = "/etc/leak-agent/am"
        [[receiver]]
        name = "heal"
        kind = "command"
        command = ["/usr/local/bin/heal", "--really"]
        [receiver.match]
        runtime = ["go"]
        exe = ["api-*"]
        labels = { team = "pay*" }
        [[receiver]]
        name = "log"
        kind = "log"
        "#,
    )
    .unwrap();
    let kinds: Vec<&str> = config
        .receivers
        .iter()
        .map(|receiver| receiver.target.kind())
        .collect();
    assert_eq!(kinds, ["webhook", "alertmanager", "command", "log"]);
    let [hook, am, heal, _] = &config.receivers[..] else {
        panic!()
    };
    assert_eq!(
        (hook.wants.verdict, hook.wants.severity),
        (Verdict::Leak, Severity::Yellow)
    );
    assert_eq!(am.pace.repeat_interval, Duration::from_secs(60));
    assert_eq!((heal.pace.max_attempts, hook.pace.max_attempts), (Some(3), None));
    assert!(heal.wants.labels["team"].is_match("payments"));
    assert!(!hook.dry_run && !heal.dry_run);
}

/// What is wrong, missing or contradictory is refused with its key.
#[test]
fn wrong_sections_are_refused_with_their_key() {
    let hook = "[[receiver]]\nname = \"a\"\nkind = \"webhook\"\n";
    let url = "url = \"http://h/\"\n";
    let with = |rest: &str| format!("{hook}{url}{rest}");
    for (text, named) in [
        ("[[receiver]]\nkind = \"log\"".to_owned(), "receiver[0] \"\".name"),
        (
            "[[receiver]]\nname = \"a/b\"\nkind = \"log\"".to_owned(),
            "receiver[0] \"a/b\".name",
        ),
        ("[[receiver]]\nname = \"a\"".to_owned(), "receiver[0] \"a\".kind"),
        (
            "[[receiver]]\nname = \"a\"\nkind = \"mail\"".to_owned(),
            "\"mail\"",
        ),
        (hook.to_owned(), "receiver[0] \"a\".url: is missing"),
        (format!("{hook}url = \"ftp://h\""), ".url: is no http"),
        (format!("{hook}url = \"http://u:p@h/\""), ".url: has a user"),
        (format!("{hook}url = \"http:///x\""), ".url: has no host"),
        (with("url_file = \"/x\""), ".url_file: contradicts url"),
        (
            with("command = [\"/bin/true\"]"),
            ".command: is for kind = \"command\" only",
        ),
        (with("timeout = \"soon\""), ".timeout: \"soon\" is no duration"),
        (with("timeout = \"1h\""), ".timeout"),
        (
            with("timeout = \"1s\"\nconnect_timeout = \"2s\""),
            ".connect_timeout: is longer",
        ),
        (with("min_verdict = \"healthy\""), ".min_verdict"),
        (with("min_severity = \"blue\""), ".min_severity"),
        (with("max_per_minute = 0"), ".max_per_minute"),
        (with("max_attempts = 0"), ".max_attempts"),
        (
            with("retry_first = \"1m\"\nretry_longest = \"1s\""),
            ".retry_first",
        ),
        (with("group_wait = \"5h\""), ".group_wait"),
        (with("queue_entries = 0"), ".queue_entries"),
        (with("queue_size = \"1KiB\""), ".queue_size"),
        (with("runbook_base_url = \"wiki\""), ".runbook_base_url"),
        (with("[receiver.match]\nexe = [\"a[\"]"), ".match.exe"),
        (
            with("[receiver.match]\nlabels = { squad = \"x\" }"),
            ".match.labels.squad",
        ),
        (with("colour = \"red\""), "colour"),
        (
            format!("{}{}", with(""), with("")),
            "is the name of another receiver",
        ),
        (
            "[[receiver]]\nname = \"a\"\nkind = \"log\"\nurl = \"http://h\"".to_owned(),
            ".url: is for",
        ),
        (
            "[[receiver]]\nname = \"a\"\nkind = \"log\"\nsecret_file = \"/h\"".to_owned(),
            ".secret_file",
        ),
        (
            "[[receiver]]\nname = \"a\"\nkind = \"command\"\ncommand = []".to_owned(),
            ".command: is missing",
        ),
        (
            "[[receiver]]\nname = \"a\"\nkind = \"command\"\ncommand = [\"sh\"]".to_owned(),
            "absolute",
        ),
        ("[notify]\nstate_dir = \"var\"".to_owned(), "notify.state_dir"),
        ("[notify]\nnode = \"\"".to_owned(), "notify.node"),
        ("[notify]\nspool = 1".to_owned(), "spool"),
    ] {
        let error = read(&text).expect_err(&text);
        assert!(error.contains(named), "{text}\n{error}");
    }
}

/// A URL that is refused is not repeated: it may hold a token.
#[test]
fn refused_url_is_not_repeated() {
    let text = "[[receiver]]\nname = \"a\"\nkind = \"webhook\"\nurl = \"https://user:tok3n@h/\"";
    assert!(!read(text).unwrap_err().contains("tok3n"));
}
