module callers

go 1.19

require golang.org/x/sync v0.1.0

// As Debian ships it: package golang-golang-x-sync-dev.
replace golang.org/x/sync => /usr/share/gocode/src/golang.org/x/sync
