//! Published programs that know nothing of us: what they have alive is what the load says.

use leak_agent::report::State;
use leak_agent_tests::compare::{describe, sum};
use leak_agent_tests::debugger::{OwnedTasks, owned_tasks};
use leak_agent_tests::wait::until;
use leak_agent_tests::{Agent, Server, privilege, programs};

const SET: &str = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";

/// mini-redis: as many connection tasks as connections, one background task, and none left when they close.
#[test]
fn mini_redis_has_one_task_per_open_connection() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::mini_redis();
    let agent = Agent::on(&[&path]);
    let server = Server::start(&path, |address| vec![address.port().to_string()]);
    let mut opened = 1; // the one that found it listening
    for n in [40, 0, 120, 7] {
        let open = server.connections(n, SET, "+OK");
        opened += n as u64;
        let found = until("as many tasks as connections", || {
            let found = agent.runtime(server.pid(), "tokio")?;
            // And the task that removes expired keys.
            let want = (open.len() as u64 + 1, opened + 1);
            if (found.live, found.spawned) == want {
                Ok(found)
            } else {
                Err(format!("want {want:?}: {}", describe(&found)))
            }
        });
        assert!(found.exact, "{}", describe(&found));
        let connections = sum(&found, |site| site.name.contains("mini_redis::server"));
        assert_eq!(connections.live, n as u64, "{}", describe(&found));
        let keys = sum(&found, |site| site.name.contains("purge_expired_tasks"));
        assert_eq!((keys.spawned, keys.live), (1, 1), "{}", describe(&found));
    }
}

/// A debugger that reads tokio's own books in mini-redis sees as many tasks alive, and as many ever spawned, as the
/// agent counts from outside.
#[test]
fn mini_redis_in_a_debugger_has_the_tasks_that_are_counted() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::mini_redis_with_debug_information();
    let agent = Agent::on(&[&path]);
    let server = Server::start(&path, |address| vec![address.port().to_string()]);
    for n in [0, 33, 150, 4] {
        let open = server.connections(n, SET, "+OK");
        // The debugger first: what it sees stays true until the next connection, and the report must come to it.
        let at_rest = until("the server is at rest", || match &owned_tasks(server.pid())[..] {
            // And the task that removes expired keys.
            [books] if books.count == open.len() as u64 + 1 => Ok(*books),
            other => Err(format!("{n} connections: {other:?}")),
        });
        let found = until("what the debugger sees", || {
            let found = agent.runtime(server.pid(), "tokio")?;
            let owned = sum(&found, |site| site.kind == "async" && !site.system);
            let counted = OwnedTasks {
                count: owned.live,
                added: owned.spawned,
            };
            if counted == at_rest {
                Ok(found)
            } else {
                Err(format!("{at_rest:?}, but {}", describe(&found)))
            }
        });
        assert!(found.exact, "{}", describe(&found));
    }
}

/// mini-redis with its own lock file has tokio 1.8, which cannot be followed: the report says so and why.
#[test]
fn mini_redis_with_an_old_tokio_is_named_as_not_followed() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::installed("mini-redis", "0.4.1", "mini-redis-server", &[]);
    let server = Server::start(&path, |address| vec!["--port".into(), address.port().to_string()]);
    let agent = Agent::start(&["--pid", &server.pid().to_string()]);
    let found = until("tokio is in the report", || agent.runtime(server.pid(), "tokio"));
    assert_eq!(found.state, State::Unsupported, "{}", describe(&found));
    assert!(
        found
            .reason
            .as_deref()
            .is_some_and(|reason| reason.contains("1.8")),
        "{}",
        describe(&found)
    );
}

/// static-web-server, stripped as it is published: live tasks follow the open connections exactly.
#[test]
fn static_web_server_has_one_task_per_open_connection() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::installed(
        "static-web-server",
        "2.44.1",
        "static-web-server",
        &["--no-default-features"], // half the time to build; the runtime is the same
    );
    let root = programs::scratch("static-web-server");
    std::fs::write(root.join("index.html"), "hello").unwrap();
    let agent = Agent::on(&[&path]);
    let server = Server::start(&path, |address| {
        let words = [
            "--host",
            "127.0.0.1",
            "--port",
            &address.port().to_string(),
            "--root",
            &root.to_string_lossy(),
        ];
        words.iter().map(ToString::to_string).collect()
    });
    let request = "GET /index.html HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let rest = until("at rest without connections", || {
        let found = agent.runtime(server.pid(), "tokio")?;
        let later = agent.next_report();
        if found.spawned > 0 && later.agent.ready {
            Ok(found)
        } else {
            Err(describe(&found))
        }
    });
    for n in [30, 0, 90, 5] {
        let open = server.connections(n, request, "hello");
        let want = rest.live + open.len() as u64;
        let found = until("as many tasks as connections", || {
            let found = agent.runtime(server.pid(), "tokio")?;
            if found.live == want {
                Ok(found)
            } else {
                Err(format!("want {want}: {}", describe(&found)))
            }
        });
        assert!(found.exact, "{}", describe(&found));
        assert_eq!(found.state, State::Followed, "{}", describe(&found));
    }
}
