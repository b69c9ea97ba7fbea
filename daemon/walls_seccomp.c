/*
 * Two filters. What the daemon may call is a list; what is on none of the lists answers EPERM, so that a library which
 * tries something new finds its way back. What only an intruder calls ends the process.
 */
#include "daemon/walls_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

static const char *const allowed[] = {
	/* files; fchmod, utimensat and fcntl are below */
	"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "open",
	"openat", "close", "close_range", "stat", "fstat", "lstat", "newfstatat", "fstatat64", "statx", "lseek", "_llseek",
	"access", "faccessat", "flock", "fsync", "fdatasync", "sync_file_range",
	"fallocate", "ftruncate", "getdents", "getdents64", "getcwd", "chdir", "fchdir", "rename", "renameat",
	"renameat2", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "link", "linkat", "readlink", "readlinkat",
	"fchown", "umask", "statfs", "fstatfs", "fadvise64", "readahead", "sendfile", "copy_file_range",
	/* memory; mmap and mprotect are below */
	"munmap", "mremap", "madvise", "brk", "mlock", "mlock2", "munlock", "msync", "mincore", "membarrier",
	/* waiting */
	"pipe", "pipe2", "select", "pselect6", "poll", "ppoll", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait",
	"epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime",
	"nanosleep", "clock_nanosleep", "futex", "futex_waitv", "dup", "dup2", "dup3",
	/* the network; socket is below */
	"socketpair", "connect", "accept", "accept4", "bind", "listen", "getsockname", "getpeername", "setsockopt",
	"getsockopt", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "shutdown",
	/* threads and signals of this process; clone is below */
	"exit", "exit_group", "set_robust_list", "get_robust_list", "rseq", "restart_syscall", "set_tid_address",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait", "rt_sigsuspend", "sigaltstack",
	"sched_yield", "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_get_priority_max",
	"sched_get_priority_min", "getpriority", "wait4", "waitid",
	/* what it is, and what time */
	"getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getgroups", "getresuid", "getresgid",
	"getpgrp", "getpgid", "getsid", "uname", "sysinfo", "getrlimit", "getrusage", "times", "time", "gettimeofday",
	"clock_gettime", "clock_getres", "getrandom", "getcpu", "arch_prctl", "capget",
};

/* Nothing that a library tries now and then to see whether it is there, as io_uring is by newer libuv. */
static const char *const deadly[] = {
	"execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "init_module",
	"finit_module", "delete_module", "create_module", "kexec_load", "kexec_file_load", "bpf", "perf_event_open",
	"userfaultfd", "mount", "umount", "umount2", "move_mount", "fsopen", "fsmount", "open_tree", "mount_setattr",
	"pivot_root", "chroot", "setns", "unshare", "keyctl", "add_key", "request_key", "reboot", "swapon", "swapoff", "iopl",
	"ioperm", "acct", "modify_ldt", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "setuid", "setgid",
	"setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset", "open_by_handle_at",
};

static const char *const of_the_keys[] = {
	"read", "readv", "write", "writev", "munmap", "mremap", "madvise", "brk", "mlock", "mlock2", "munlock", "futex",
	"exit", "exit_group", "restart_syscall", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "getpid", "gettid",
	"getrandom", "clock_gettime", "gettimeofday", "time", "sched_yield",
};

/* What a machine does not have has no number there. */
static int add(scmp_filter_ctx c, uint32_t action, const char *name, unsigned args, const struct scmp_arg_cmp *arg)
{
	int nr = seccomp_syscall_resolve_name(name);

	if (nr == __NR_SCMP_ERROR)
		return 0;
	nr = seccomp_rule_add_array(c, action, nr, args, arg);
	/* A call that only other machines have; what the default does anyway; or the same number under two names. */
	return nr == -EDOM || nr == -EACCES || nr == -EINVAL || nr == -EEXIST ? 0 : nr;
}

static int add_all(scmp_filter_ctx c, uint32_t action, const char *const *names, size_t n)
{
	int no = 0;

	for (size_t i = 0; no == 0 && i < n; i++)
		no = add(c, action, names[i], 0, NULL);
	return no;
}
#define ALL(c, action, list) add_all(c, action, list, sizeof(list) / sizeof((list)[0]))

/* `name` with argument `at` equal to one of the values. */
static int add_values(scmp_filter_ctx c, const char *name, unsigned at, const uint64_t *values, size_t n)
{
	int no = 0;

	for (size_t i = 0; no == 0 && i < n; i++)
		no = add(c, SCMP_ACT_ALLOW, name, 1, &SCMP_CMP64(at, SCMP_CMP_EQ, values[i]));
	return no;
}

/* No memory that is both ours to fill and to run: no code comes in any more. */
static int add_memory(scmp_filter_ctx c)
{
	const struct scmp_arg_cmp no_code = SCMP_CMP64(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	int no = add(c, SCMP_ACT_ALLOW, "mmap", 1, &no_code);

	if (no == 0)
		no = add(c, SCMP_ACT_ALLOW, "mmap2", 1, &no_code);
	return no ? no : add(c, SCMP_ACT_ALLOW, "mprotect", 1, &no_code);
}

/* Signals to threads of this process, as abort() sends them. */
static int add_own_signals(scmp_filter_ctx c)
{
	return add(c, SCMP_ACT_ALLOW, "tgkill", 1, &SCMP_CMP64(0, SCMP_CMP_EQ, (uint64_t)getpid()));
}

/* Landlock is not asked about modes and times, so what the user owns anywhere could be opened to others, or given the setuid
 * bit. Nor about truncate() before its third version; ftruncate() needs a file that could be opened. */
static int add_files(scmp_filter_ctx c)
{
	static const uint64_t commands[] = { F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW,
					     12, 13, 14, /* locks of 32-bit machines */
					     F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW };
	const struct scmp_arg_cmp ours_alone = SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, 07777 & ~0600, 0);
	const struct scmp_arg_cmp now = SCMP_CMP64(2, SCMP_CMP_EQ, 0);
	int no = add(c, SCMP_ACT_ALLOW, "fchmod", 1, &ours_alone);

	if (no == 0)
		no = add(c, SCMP_ACT_ALLOW, "utimensat", 1, &now);
	/* Not F_SETOWN: the kernel would send signals for us. */
	if (no == 0)
		no = add_values(c, "fcntl", 1, commands, sizeof(commands) / sizeof(commands[0]));
	return no ? no : add_values(c, "fcntl64", 1, commands, sizeof(commands) / sizeof(commands[0]));
}

static int add_narrow(scmp_filter_ctx c)
{
	static const uint64_t families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };
	static const uint64_t ioctls[] = { FIONBIO,	 FIONREAD,     FIOCLEX,	     FIONCLEX,	   TCGETS,	 TIOCGWINSZ,
					   SIOCGIFNAME, SIOCGIFINDEX, SIOCGIFADDR, SIOCGIFFLAGS, SIOCGIFCONF, SIOCGIFNETMASK };
	static const uint64_t prctls[] = { PR_SET_NAME,	       PR_GET_NAME,	   PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS,
					   PR_GET_SECCOMP,     PR_CAPBSET_READ,	   PR_GET_PDEATHSIG, PR_GET_TIMERSLACK };
	const uint64_t thread = CLONE_VM | CLONE_THREAD,
		       world = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
			       CLONE_NEWNET;
	int no = add_values(c, "socket", 0, families, sizeof(families) / sizeof(families[0]));

	if (no == 0)
		no = add_values(c, "ioctl", 1, ioctls, sizeof(ioctls) / sizeof(ioctls[0]));
	if (no == 0)
		no = add_values(c, "prctl", 0, prctls, sizeof(prctls) / sizeof(prctls[0]));
	/* Threads, and no processes. The flags of clone3 lie in memory, where no filter looks: the C library goes back
	 * to clone when it is told that there is none. */
	if (no == 0)
		no = add(c, SCMP_ACT_ALLOW, "clone", 1, &SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, thread | world, thread));
	if (no == 0)
		no = add(c, SCMP_ACT_ERRNO(ENOSYS), "clone3", 0, NULL);
	if (no == 0)
		no = add(c, SCMP_ACT_ERRNO(ENOSYS), "faccessat2", 0, NULL);
	/* Limits are read, not set. */
	if (no == 0)
		no = add(c, SCMP_ACT_ALLOW, "prlimit64", 1, &SCMP_CMP64(2, SCMP_CMP_EQ, 0));
	return no;
}

static const char *load(scmp_filter_ctx c, int no)
{
	static char why[80];

	if (no == 0)
		no = seccomp_attr_set(c, SCMP_FLTATR_CTL_TSYNC, 1);
	/* Refused calls are in the log of the kernel, where there is an audit. */
	if (no == 0)
		(void)seccomp_attr_set(c, SCMP_FLTATR_CTL_LOG, 1);
	if (no == 0)
		(void)seccomp_attr_set(c, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (no == 0)
		no = seccomp_load(c);
	seccomp_release(c);
	if (no == 0)
		return NULL;
	snprintf(why, sizeof(why), "the filter is refused: %s", strerror(-no));
	return why;
}

const char *walls_seccomp_daemon(void)
{
	scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int no;

	if (!c)
		return "no memory for the filter";
	no = ALL(c, SCMP_ACT_ALLOW, allowed);
	if (no == 0)
		no = ALL(c, SCMP_ACT_KILL_PROCESS, deadly);
	if (no == 0)
		no = add_memory(c);
	if (no == 0)
		no = add_own_signals(c);
	if (no == 0)
		no = add_files(c);
	if (no == 0)
		no = add_narrow(c);
	return load(c, no);
}

const char *walls_seccomp_keys(void)
{
	scmp_filter_ctx c = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int no;

	if (!c)
		return "no memory for the filter";
	no = ALL(c, SCMP_ACT_ALLOW, of_the_keys);
	if (no == 0)
		no = add(c, SCMP_ACT_ALLOW, "sched_setaffinity", 1, &SCMP_CMP64(0, SCMP_CMP_EQ, 0));
	if (no == 0)
		no = add_memory(c);
	if (no == 0)
		no = add_own_signals(c);
	return load(c, no);
}
