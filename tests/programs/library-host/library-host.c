/* Runs a shared library that has tokio in it, without any of its own: commands come on stdin as for the other
 * programs ("all 20"), and the library answers each with its truth. The end of stdin ends the program. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library == NULL) {
        fprintf(stderr, "usage: library-host LIBRARY (%s)\n", argc == 2 ? dlerror() : "none given");
        return 1;
    }
    void (*run)(const char *, unsigned long) =
        (void (*)(const char *, unsigned long))dlsym(library, "probe_library_run");
    if (run == NULL) {
        fprintf(stderr, "%s is not the library of tokio-probe\n", argv[1]);
        return 1;
    }
    printf("{\"pid\":%d,\"phase\":\"start\",\"spawned\":0,\"finished\":0,\"live\":0}\n", (int)getpid());
    fflush(stdout);
    char line[256], command[64];
    while (fgets(line, sizeof line, stdin) != NULL) {
        unsigned long number = 1;
        if (sscanf(line, "%63s %lu", command, &number) >= 1) {
            run(command, number);
        }
    }
    _exit(0);
}
