//! Names of tokio spawn sites: from the vtable of a task type to what its programmer calls it, and where it stands
//! in the source.

mod demangle;
