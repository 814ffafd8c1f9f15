//! Processes in other mount namespaces. Needs root.

use super::*;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: only root may mount");
    }
    root
}

/// Runs a script in a mount namespace of its own, up to the moment in which it executes `program`.
fn in_namespace(script: &str, program: &Path) -> Running {
    Running::start(Command::new("unshare").args(["-m", "sh", "-ec", script])).executing(program)
}

/// A program that exists only in its own mount namespace is read and attached.
#[test]
fn program_on_a_private_mount_is_attached() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("private");
    let original = scratch.sleeper("original", "<plan>..");
    let hidden = scratch.0.join("hidden");
    fs::create_dir(&hidden).unwrap();
    let program = hidden.join("app");
    let script = format!(
        "mount -t tmpfs none {0}; cp {1} {0}/app; exec {0}/app 1000",
        hidden.display(),
        original.display()
    );
    let process = in_namespace(&script, &program);
    assert!(!program.exists());
    let mut world = World::new(scratch.settings());
    world.notice(Notice::Counted {
        process: process.key(),
    });
    world.until("the process", |world| world.follows(process.key()));
    assert_eq!(world.describes(process.key()), Some(("app", program.to_str())));
}

/// Two containers of one image share one attachment, although the file has two devices.
#[test]
fn containers_of_one_image_share_one_attachment() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("image");
    for dir in ["lower", "a", "b"] {
        fs::create_dir(scratch.0.join(dir)).unwrap();
    }
    let original = scratch.sleeper("original", "<plan>..");
    let holder = scratch.sleeper("holder", "");
    // The layer is on a file system with a UUID, which the disk of a small virtual machine may lack.
    let script = format!(
        "mount -t tmpfs none {0}/lower; cp {1} {0}/lower/app; exec {2} 1000",
        scratch.0.display(),
        original.display(),
        holder.display()
    );
    let layer = in_namespace(&script, &holder);
    let container = |name: &str| {
        let top = scratch.0.join(name);
        let script = format!(
            "mount -t tmpfs none {0}; mkdir {0}/upper {0}/work {0}/root; \
             mount -t overlay none -o lowerdir={1}/lower,upperdir={0}/upper,workdir={0}/work {0}/root; \
             exec {0}/root/app 1000",
            top.display(),
            scratch.0.display()
        );
        let target = layer.0.id().to_string();
        let arguments = ["-t", &target, "-m", "unshare", "-m", "sh", "-ec", &script];
        Running::start(Command::new("nsenter").args(arguments)).executing(&top.join("root/app"))
    };
    let (a, b) = (container("a"), container("b"));
    let located = |process: &Running| {
        let dir = proc::ProcDir::open(process.0.id()).unwrap().unwrap();
        let located = dir.locate("exe").unwrap().unwrap();
        let facts = crate::sys::file::facts(&located).unwrap();
        (facts.dev, crate::sys::file::overlay_backing(&located))
    };
    let ((dev_a, backing_a), (dev_b, backing_b)) = (located(&a), located(&b));
    assert_ne!(dev_a, dev_b);
    assert_eq!(backing_a, backing_b);
    let mut world = World::new(scratch.settings());
    for process in [a.key(), b.key()] {
        world.notice(Notice::Counted { process });
    }
    world.until("both", |world| world.follows(a.key()) && world.follows(b.key()));
    if backing_a.is_none() {
        println!("skipped: this kernel does not tell what is behind a file on overlayfs");
        assert_eq!(world.attaches(), 2);
    } else {
        assert_eq!(world.attaches(), 1);
    }
}

/// A link in a container that points out of its root leads nowhere, also when it is looked up for an operator.
#[test]
fn pinned_link_out_of_the_host_root_names_nothing() {
    let scratch = Scratch::new("outside");
    fs::create_dir_all(scratch.0.join("root/bin")).unwrap();
    let outside = scratch.sleeper("outside", "<plan>..");
    let link = scratch.0.join("root/bin/app");
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    std::os::unix::fs::symlink("../../outside", scratch.0.join("root/bin/up")).unwrap();
    let mut world = World::new(Settings {
        host_root: scratch.0.join("root"),
        ..scratch.settings()
    });
    assert!(world.discovery.pin("/bin/*", clock::now()));
    world.until("the scan", |world| world.discovery.counters().scans == 1);
    assert_eq!((world.attaches(), world.discovery.sizes().executables), (0, 0));
    fs::remove_file(&link).unwrap();
    fs::rename(&outside, &link).unwrap();
    assert!(world.discovery.pin("/bin/app", clock::now()));
    world.until("the real one", |world| world.attaches() == 1);
}
