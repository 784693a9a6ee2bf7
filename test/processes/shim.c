/*
 * Makes system calls of a process fail, for tests (LD_PRELOAD). The file that FAULTS names holds the plan, a fault a line:
 *
 *     <call> <part of the path> <skip> <times> <errno | short> <bytes>
 *
 * Of the calls of that name on a path with that part in it, the first <skip> go through, the next <times> fail with the errno,
 * or write only <bytes> bytes; later ones go through again. The plan is read at each call, so a fault begins when the file is
 * written and ends when it is removed; with another plan, counting starts anew. Each fault is noted in <FAULTS>.log.
 *
 * Calls: write (pwrite, writev, pwritev too), read (pread), sync (fdatasync, fsync), truncate, rename, unlink, open.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FAULTS 16

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char known[4096];
static long seen[MOST_FAULTS];

/* Not through the functions below. */
static long readFile(const char *path, char *into, size_t most) {
  int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  long got = syscall(SYS_read, fd, into, most - 1);
  syscall(SYS_close, fd);
  into[got < 0 ? 0 : got] = 0;
  return got;
}

static void note(const char *plan, const char *call, const char *path) {
  char text[4400], name[512];
  snprintf(name, sizeof name, "%s.log", plan);
  int length = snprintf(text, sizeof text, "%s %s\n", call, path);
  int fd = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return;
  syscall(SYS_write, fd, text, length);
  syscall(SYS_close, fd);
}

/* The errno that this call is to fail with, 0 to let it through, -1 to write only `*bytes`. */
static int fault(const char *call, const char *path, long *bytes) {
  const char *plan = getenv("FAULTS");
  char text[sizeof known];
  int verdict = 0;
  if (plan == NULL) return 0;
  pthread_mutex_lock(&lock);
  if (readFile(plan, text, sizeof text) >= 0) {
    if (strcmp(text, known) != 0) {
      strcpy(known, text);
      memset(seen, 0, sizeof seen);
    }
    char *rest = text, *line;
    for (int i = 0; i < MOST_FAULTS && (line = strsep(&rest, "\n")) != NULL; i++) {
      char name[32], part[256], what[32];
      long skip, times, count = 0;
      if (sscanf(line, "%31s %255s %ld %ld %31s %ld", name, part, &skip, &times, what, &count) < 5) continue;
      if (strcmp(name, call) != 0 || strstr(path, part) == NULL) continue;
      long n = seen[i]++;
      if (verdict != 0 || n < skip || n >= skip + times) continue;
      verdict = strcmp(what, "short") == 0 ? -1 : atoi(what);
      *bytes = count;
    }
  } else known[0] = 0;
  pthread_mutex_unlock(&lock);
  if (verdict != 0) note(plan, call, path);
  return verdict;
}

static int faultOf(const char *call, int fd, long *bytes) {
  char link[64], path[4096];
  int kept = errno;
  if (getenv("FAULTS") == NULL) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
  path[length < 0 ? 0 : length] = 0;
  int verdict = fault(call, path, bytes);
  errno = kept;
  return verdict;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(code) return errno = (code), -1

ssize_t write(int fd, const void *from, size_t length) {
  long bytes;
  int code = faultOf("write", fd, &bytes);
  if (code > 0) FAIL(code);
  return REAL(write)(fd, from, code < 0 && (size_t)bytes < length ? (size_t)bytes : length);
}

ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) {
  long bytes;
  int code = faultOf("write", fd, &bytes);
  if (code > 0) FAIL(code);
  return REAL(pwrite64)(fd, from, code < 0 && (size_t)bytes < length ? (size_t)bytes : length, at);
}

ssize_t writev(int fd, const struct iovec *from, int count) {
  long bytes;
  int code = faultOf("write", fd, &bytes);
  if (code > 0) FAIL(code);
  if (code < 0 && (size_t)bytes < from->iov_len) return REAL(write)(fd, from->iov_base, bytes);
  return REAL(writev)(fd, from, count);
}

ssize_t pwritev64(int fd, const struct iovec *from, int count, off64_t at) {
  long bytes;
  int code = faultOf("write", fd, &bytes);
  if (code > 0) FAIL(code);
  if (code < 0 && (size_t)bytes < from->iov_len) return REAL(pwrite64)(fd, from->iov_base, bytes, at);
  return REAL(pwritev64)(fd, from, count, at);
}

ssize_t read(int fd, void *into, size_t length) {
  long bytes;
  int code = faultOf("read", fd, &bytes);
  if (code > 0) FAIL(code);
  return REAL(read)(fd, into, code < 0 && (size_t)bytes < length ? (size_t)bytes : length);
}

ssize_t pread64(int fd, void *into, size_t length, off64_t at) {
  long bytes;
  int code = faultOf("read", fd, &bytes);
  if (code > 0) FAIL(code);
  return REAL(pread64)(fd, into, code < 0 && (size_t)bytes < length ? (size_t)bytes : length, at);
}

int fdatasync(int fd) {
  long bytes;
  int code = faultOf("sync", fd, &bytes);
  if (code > 0) FAIL(code);
  return REAL(fdatasync)(fd);
}

int fsync(int fd) {
  long bytes;
  int code = faultOf("sync", fd, &bytes);
  if (code > 0) FAIL(code);
  return REAL(fsync)(fd);
}

int ftruncate64(int fd, off64_t length) {
  long bytes;
  int code = faultOf("truncate", fd, &bytes);
  if (code > 0) FAIL(code);
  return REAL(ftruncate64)(fd, length);
}

int rename(const char *from, const char *to) {
  long bytes;
  int code = fault("rename", to, &bytes);
  if (code > 0) FAIL(code);
  return REAL(rename)(from, to);
}

int unlink(const char *path) {
  long bytes;
  int code = fault("unlink", path, &bytes);
  if (code > 0) FAIL(code);
  return REAL(unlink)(path);
}

int open64(const char *path, int flags, ...) {
  long bytes;
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  int code = fault("open", path, &bytes);
  if (code > 0) FAIL(code);
  return REAL(open64)(path, flags, mode);
}
