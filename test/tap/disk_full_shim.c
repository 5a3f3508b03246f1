/*
 * Preload into a server: the disk is full for some of its files.
 *
 * While the file that $DISK_FULL names exists, what makes a file longer whose path contains the text in that file ends
 * with ENOSPC, as on a full disk; what overwrites does not.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* A function pointer from dlsym, without the cast that ISO C frowns upon. */
#define REAL(name) static __typeof__(name) *real; if (real == NULL) *(void **) &real = dlsym(RTLD_NEXT, #name)

static int
is_full(int fd, off_t end)
{
	const char *name = getenv("DISK_FULL");
	char which[64], link[64], path[PATH_MAX];
	struct stat status;
	ssize_t length;
	int flag, saved = errno;

	if (name == NULL || (flag = open(name, O_RDONLY | O_CLOEXEC)) < 0)
	{
		errno = saved;
		return 0;
	}
	length = read(flag, which, sizeof which - 1);
	close(flag);
	errno = saved;
	which[length < 0 ? 0 : length] = '\0';
	if (length <= 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || end <= status.st_size)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	path[length < 0 ? 0 : length] = '\0';
	errno = saved;
	return strstr(path, which) != NULL;
}

static off_t
sum(const struct iovec *parts, int count)
{
	off_t all = 0;

	for (int i = 0; i < count; i++)
		all += (off_t) parts[i].iov_len;
	return all;
}

#define FULL(fd, end) if (is_full(fd, end)) return errno = ENOSPC, -1

ssize_t
write(int fd, const void *buffer, size_t size)
{
	REAL(write);
	FULL(fd, lseek(fd, 0, SEEK_CUR) + (off_t) size);
	return real(fd, buffer, size);
}

ssize_t
pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	REAL(pwrite);
	FULL(fd, offset + (off_t) size);
	return real(fd, buffer, size, offset);
}

ssize_t
pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	REAL(pwritev);
	FULL(fd, offset + sum(parts, count));
	return real(fd, parts, count, offset);
}

int
posix_fallocate(int fd, off_t offset, off_t length)
{
	REAL(posix_fallocate);
	if (is_full(fd, offset + length))
		return ENOSPC;
	return real(fd, offset, length);
}
