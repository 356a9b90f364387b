/* A disk that is full while the file $FULL_DISK exists: what would make a file longer fails with ENOSPC. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int full(int fd, off_t end)
{
    struct stat file;
    const char *flag = getenv("FULL_DISK");
    return flag && fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && end > file.st_size
        && access(flag, F_OK) == 0;
}

#define WRAP(name)                                                                  \
    ssize_t name(int fd, const void *bytes, size_t count, off_t at)                 \
    {                                                                               \
        static ssize_t (*real)(int, const void *, size_t, off_t);                   \
        if (!real)                                                                  \
            real = (ssize_t (*)(int, const void *, size_t, off_t)) dlsym(RTLD_NEXT, #name); \
        if (full(fd, at + (off_t) count)) {                                         \
            errno = ENOSPC;                                                         \
            return -1;                                                              \
        }                                                                           \
        return real(fd, bytes, count, at);                                          \
    }

WRAP(pwrite)
WRAP(pwrite64)
