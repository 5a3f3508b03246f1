/*
 * Preload after libasan, so that a stock server with an instrumented extension starts.
 *
 * libasan's own start calls dlerror(), which translates its message: gettext takes a lock that is
 * not yet initialized that early, and the process hangs.  Until this object's constructor has run,
 * dlerror() says that there was no error.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

static char *(*real_dlerror)(void);

__attribute__((constructor)) static void
find_real_dlerror(void)
{
	/* A function pointer from dlsym, without the cast that ISO C frowns upon. */
	*(void **) &real_dlerror = dlsym(RTLD_NEXT, "dlerror");
}

char *
dlerror(void)
{
	return real_dlerror != NULL ? real_dlerror() : NULL;
}
