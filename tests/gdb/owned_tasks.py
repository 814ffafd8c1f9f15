"""Prints what tokio's own books say, one line per multi-thread runtime: id, tasks alive, tasks ever added.

For gdb, attached to a program with full debug information: only names and types lead to the numbers, no offsets.
"""

import gdb

WORKER = "alloc::sync::Arc<tokio::runtime::scheduler::multi_thread::worker::Worker"


def workers(frame):
    """Every variable of a frame that holds a worker, those of inlined scopes too."""
    try:
        block = frame.block()
    except RuntimeError:
        return  # no debug information here
    while block and not block.is_static and not block.is_global:
        for symbol in block:
            if (symbol.is_variable or symbol.is_argument) and str(symbol.type).startswith(WORKER):
                yield symbol
        block = block.superblock


def inside(arc):
    """What an Arc holds."""
    return arc["ptr"]["pointer"].dereference()["data"]


def number(value):
    """The integer in the innermost of wrappers that hold nothing else."""
    while value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        fields = [field for field in value.type.fields() if field.type.sizeof > 0]
        value = value[fields[0]]
    return int(value)


found = {}
for thread in gdb.selected_inferior().threads():
    thread.switch()
    frame = gdb.newest_frame()
    while frame:
        for symbol in workers(frame):
            try:
                worker = symbol.value(frame)
                if worker.is_optimized_out:
                    continue
                owned = inside(inside(worker)["handle"])["shared"]["owned"]
                books = owned["list"]
                found[number(owned["id"])] = (number(books["count"]), number(books["added"]))
            except gdb.MemoryError:
                pass  # the variable has left its place
        frame = frame.older()
for id, (count, added) in found.items():
    print("owned-tasks", id, count, added)
