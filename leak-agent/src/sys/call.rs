//! Names of the system calls of x86-64 in which threads wait. Numbers: `arch/x86/entry/syscalls/syscall_64.tbl`, 6.18.

const NAMES: &[(u32, &str)] = &[
    (0, "read"),
    (1, "write"),
    (2, "open"),
    (3, "close"),
    (7, "poll"),
    (9, "mmap"),
    (11, "munmap"),
    (16, "ioctl"),
    (17, "pread64"),
    (18, "pwrite64"),
    (19, "readv"),
    (20, "writev"),
    (23, "select"),
    (24, "sched_yield"),
    (28, "madvise"),
    (29, "shmget"),
    (34, "pause"),
    (35, "nanosleep"),
    (42, "connect"),
    (43, "accept"),
    (44, "sendto"),
    (45, "recvfrom"),
    (46, "sendmsg"),
    (47, "recvmsg"),
    (48, "shutdown"),
    (56, "clone"),
    (57, "fork"),
    (58, "vfork"),
    (59, "execve"),
    (60, "exit"),
    (61, "wait4"),
    (65, "semop"),
    (69, "msgsnd"),
    (70, "msgrcv"),
    (72, "fcntl"),
    (73, "flock"),
    (74, "fsync"),
    (75, "fdatasync"),
    (101, "ptrace"),
    (128, "rt_sigtimedwait"),
    (130, "rt_sigsuspend"),
    (162, "sync"),
    (202, "futex"),
    (208, "io_getevents"),
    (219, "restart_syscall"),
    (220, "semtimedop"),
    (230, "clock_nanosleep"),
    (231, "exit_group"),
    (232, "epoll_wait"),
    (242, "mq_timedsend"),
    (243, "mq_timedreceive"),
    (247, "waitid"),
    (257, "openat"),
    (270, "pselect6"),
    (271, "ppoll"),
    (275, "splice"),
    (276, "tee"),
    (277, "sync_file_range"),
    (278, "vmsplice"),
    (281, "epoll_pwait"),
    (288, "accept4"),
    (295, "preadv"),
    (296, "pwritev"),
    (299, "recvmmsg"),
    (306, "syncfs"),
    (307, "sendmmsg"),
    (318, "getrandom"),
    (333, "io_pgetevents"),
    (426, "io_uring_enter"),
    (435, "clone3"),
    (441, "epoll_pwait2"),
    (449, "futex_waitv"),
    (455, "futex_wait"),
];

/// Its name, or "system call 999".
#[must_use]
pub fn name(number: u32) -> std::borrow::Cow<'static, str> {
    match NAMES.binary_search_by_key(&number, |(number, _)| *number) {
        Ok(index) => NAMES.get(index).map_or("", |(_, name)| *name).into(),
        Err(_) => format!("system call {number}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those of the C library, and in order, so that they are found.
    #[test]
    fn names_are_those_of_the_numbers() {
        assert!(NAMES.is_sorted_by_key(|(number, _)| *number));
        for (number, wanted) in [
            (libc::SYS_futex, "futex"),
            (libc::SYS_read, "read"),
            (libc::SYS_epoll_pwait2, "epoll_pwait2"),
            (libc::SYS_clock_nanosleep, "clock_nanosleep"),
            (libc::SYS_ppoll, "ppoll"),
            (libc::SYS_wait4, "wait4"),
        ] {
            assert_eq!(name(u32::try_from(number).unwrap()), wanted);
        }
        assert_eq!(name(9999), "system call 9999");
    }
}
