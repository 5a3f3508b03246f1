// A test that is killed must not leave its hubs and agents behind: die with the parent process.
#pragma once

#include <csignal>
#include <cstdlib>
#include <sys/prctl.h>
#include <unistd.h>

namespace testhub {

inline void die_with_parent()
{
    const pid_t parent = getppid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    // The parent may have died between the two calls: no signal would ever come then.
    if (getppid() != parent) std::exit(0);
}

}  // namespace testhub
