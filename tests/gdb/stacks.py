"""Prints every thread's stack: a line for each thread with its name, and one for each frame, inlined ones too, with the function
and the line; "?" where gdb knows none.

For gdb, attached to a process.
"""

import gdb

FRAMES_MAX = 600

gdb.execute("set backtrace limit 0")
for thread in gdb.selected_inferior().threads():
    thread.switch()
    print("thread", thread.ptid[1], thread.name)
    frame, count = gdb.newest_frame(), 0
    while frame is not None and count < FRAMES_MAX:
        place = frame.find_sal()
        line = "%s:%d" % (place.symtab.filename, place.line) if place.symtab else "?"
        print("frame", frame.name() or "?", line)
        frame, count = frame.older(), count + 1
