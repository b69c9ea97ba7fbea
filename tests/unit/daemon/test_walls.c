#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/walls_internal.h"

/* Each test runs in a process of its own, which raises the very walls of the daemon and tries something. */
static char dir[] = "/tmp/test-walls-XXXXXX", home[64], beside[64], readable[64];

#define RELAXED_SKIP()                 \
	do {                           \
		if (WALLS_RELAXED)     \
			skip();        \
	} while (0)

static const char *in(const char *folder, const char *name)
{
	static char path[160];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static void make_file(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "text\n", 5), 5);
	close(fd);
}

static int open_status(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600), no = errno;

	if (fd < 0)
		return no;
	close(fd);
	return 0;
}

static struct walls *raised(void)
{
	struct walls *w;
	struct fault f = { 0 };

	if (walls_begin(WALLS_ON, &f) != ERR_OK || walls_new(WALLS_ON, &w) != ERR_OK)
		_exit(99);
	walls_write(w, home);
	walls_read(w, readable);
	if (walls_raise(w, &f) != ERR_OK)
		_exit(98);
	return w;
}

/* The wait status of a process that runs `f` behind the walls; its exit code is what `f` returns. */
static int behind(int (*f)(struct walls *w))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(20);
		_exit(f(raised()));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}
#define BEHIND(f, code) assert_int_equal(behind(f), (code) << 8)
/* `core` is not looked at here: a core would be shown by the flag. */
#define KILLED(f) assert_int_equal(behind(f), SIGSYS)

/* --- how they stand ------------------------------------------------------------------------------------ */

static int all_stand(struct walls *w)
{
	struct wall_state s[WALLS];

	walls_look(w, s);
	for (int i = 0; i < WALLS; i++) {
		enum wall_standing want = i == WALL_KEY_PROCESS ? WALL_ABSENT : WALL_UP;

		if (WALLS_RELAXED && (i == WALL_NOT_DUMPABLE || i == WALL_SECCOMP))
			want = WALL_OFF;
		if (s[i].standing != want) {
			fprintf(stderr, "%s is %s: %s\n", s[i].name, wall_standing_word(s[i].standing), s[i].why);
			return 1 + i;
		}
	}
	return 0;
}

static void what_was_raised_is_seen(void **state)
{
	BEHIND(all_stand, 0);
}

static void what_was_not_raised_is_absent(void **state)
{
	struct wall_state s[WALLS];
	struct walls *w;

	assert_int_equal(walls_new(WALLS_ON, &w), ERR_OK);
	walls_look(w, s);
	for (int i = 0; i < WALLS; i++) {
		if (i == WALL_NO_CORE || i == WALL_NO_NEW_PRIVILEGES || i == WALL_CAPABILITIES || i == WALL_ENVIRONMENT || i == WALL_SECCOMP)
			continue; /* may be so of the one who runs the tests */
		if (WALLS_RELAXED && i == WALL_NOT_DUMPABLE)
			continue;
		assert_int_equal(s[i].standing, WALL_ABSENT);
		assert_string_not_equal(s[i].why, "");
	}
	walls_free(w);
	walls_look(NULL, s);
	for (int i = 0; i < WALLS; i++)
		assert_int_equal(s[i].standing, WALL_OFF);
}

static void *idle(void *arg)
{
	pause();
	return NULL;
}

static void a_thread_that_was_there_is_noticed(void **state)
{
	pid_t pid;
	int status;

	RELAXED_SKIP();
	pid = fork();
	if (pid == 0) {
		struct wall_state s[WALLS];
		struct walls *w;
		struct fault f = { 0 };
		pthread_t t;

		pthread_create(&t, NULL, idle, NULL);
		if (walls_begin(WALLS_REQUIRE, &f) != ERR_OK || walls_new(WALLS_REQUIRE, &w) != ERR_OK)
			_exit(99);
		if (walls_raise(w, &f) != ERR_DENIED || f.code != EXIT_CONFIG)
			_exit(1);
		walls_look(w, s);
		_exit(s[WALL_LANDLOCK].standing != WALL_ABSENT || !strstr(s[WALL_LANDLOCK].why, "thread"));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* As systemd starts a service: with a filter of its own, which is not taken for ours. */
static void the_filter_of_another_is_not_ours(void **state)
{
	pid_t pid;
	int status;

	RELAXED_SKIP();
	pid = fork();
	if (pid == 0) {
		scmp_filter_ctx c = seccomp_init(SCMP_ACT_ALLOW);
		struct wall_state s[WALLS];
		struct fault f = { 0 };
		struct walls *w;

		if (seccomp_rule_add(c, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(acct), 0) != 0 || seccomp_load(c) != 0)
			_exit(99);
		if (walls_begin(WALLS_ON, &f) != ERR_OK || walls_new(WALLS_ON, &w) != ERR_OK)
			_exit(98);
		walls_key_process(w, getpid(), open("/proc/self/status", O_RDONLY | O_CLOEXEC));
		walls_look(w, s);
		if (s[WALL_SECCOMP].standing != WALL_ABSENT || s[WALL_KEY_PROCESS].standing != WALL_ABSENT)
			_exit(1);
		walls_write(w, home);
		if (walls_raise(w, &f) != ERR_OK)
			_exit(2);
		walls_look(w, s);
		_exit(s[WALL_SECCOMP].standing == WALL_UP && s[WALL_KEY_PROCESS].standing == WALL_UP ? 0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* --- files ------------------------------------------------------------------------------------------------ */

static int files(struct walls *w)
{
	char there[200];

	if (open_status(in(home, "made"), O_CREAT | O_RDWR) != 0)
		return 1;
	strcpy(there, in(home, "moved"));
	if (rename(in(home, "made"), there) != 0)
		return 2;
	if (mkdir(in(home, "folder"), 0700) != 0)
		return 3;
	if (open_status(in(readable, "file"), O_RDONLY) != 0)
		return 4;
	if (open_status(in(readable, "file"), O_WRONLY) != EACCES)
		return 5;
	if (open_status(in(beside, "file"), O_RDONLY) != EACCES)
		return 6;
	if (open_status(in(beside, "made"), O_CREAT | O_RDWR) != EACCES)
		return 7;
	/* a link that lies in the home folder and leads out of it */
	if (open_status(in(home, "link"), O_RDONLY) != EACCES)
		return 8;
	if (symlink("/etc/shadow", in(home, "another")) == 0)
		return 9;
	if (mkfifo(in(home, "fifo"), 0600) == 0)
		return 10;
	if (open_status("/proc/1/environ", O_RDONLY) != EACCES || open_status("/", O_RDONLY | O_DIRECTORY) != EACCES)
		return 11;
	snprintf(there, sizeof there, "%s/out", beside);
	return rename(in(home, "keep"), there) == 0 ? 12 : 0;
}

static void nothing_outside_the_home_folder_is_reached(void **state)
{
	BEHIND(files, 0);
}

static void *open_outside(void *arg)
{
	return (void *)(intptr_t)open_status(in(beside, "file"), O_RDONLY);
}

static int of_a_thread(struct walls *w)
{
	void *got = NULL;
	pthread_t t;

	if (pthread_create(&t, NULL, open_outside, NULL) != 0 || pthread_join(t, &got) != 0)
		return 1;
	return (int)(intptr_t)got;
}

static void threads_that_come_later_stand_behind_them_too(void **state)
{
	BEHIND(of_a_thread, EACCES);
}

/* --- calls ------------------------------------------------------------------------------------------------ */

static int do_exec(struct walls *w)
{
	execl("/bin/true", "true", (char *)NULL);
	return errno;
}

static int do_ptrace(struct walls *w)
{
	return ptrace(PTRACE_TRACEME, 0, 0, 0) == 0 ? 1 : errno;
}

static int do_setuid(struct walls *w)
{
	return setuid(getuid()) == 0 ? 1 : errno;
}

static int do_mount(struct walls *w)
{
	return (int)syscall(165 /* mount of x86-64 */, "none", "/mnt", "tmpfs", 0, NULL);
}

#ifdef __x86_64__
/* The numbers of another machine mean other calls: 20 is getpid() there. */
static int do_32_bit(struct walls *w)
{
	long answer;

	__asm__ volatile("int $0x80" : "=a"(answer) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
	return answer > 0 ? 1 : 2;
}

static int do_x32(struct walls *w)
{
	return syscall(0x40000000 | SYS_getpid) > 0 ? 1 : 2;
}
#endif

static void what_only_an_intruder_calls_ends_the_process(void **state)
{
	RELAXED_SKIP();
	KILLED(do_exec);
	KILLED(do_ptrace);
	KILLED(do_setuid);
#ifdef __x86_64__
	KILLED(do_mount);
	KILLED(do_32_bit);
	KILLED(do_x32);
#else
	(void)do_mount;
#endif
}

static int refused(struct walls *w)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct rlimit any = { RLIM_INFINITY, RLIM_INFINITY };

	if (fork() != -1)
		return 1;
	if (errno != EPERM)
		return 2;
	if (socket(AF_PACKET, SOCK_RAW, 0) >= 0 || errno != EPERM)
		return 3;
	if (p == MAP_FAILED || mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0)
		return 4;
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
		return 5;
	if (prctl(PR_SET_DUMPABLE, 1) == 0 || setrlimit(RLIMIT_CORE, &any) == 0)
		return 6;
	if (kill(getppid(), 0) == 0)
		return 7;
	if (syscall(425 /* io_uring_setup */, 1, NULL) >= 0 || errno != EPERM)
		return 9;
	if (memfd_create("code", 0) >= 0 || syscall(434 /* pidfd_open */, getppid(), 0) >= 0)
		return 10;
	return dlopen("libBrokenLocale.so.1", RTLD_NOW) ? 8 : 0;
}

static void no_process_no_code_no_odd_socket(void **state)
{
	RELAXED_SKIP();
	BEHIND(refused, 0);
}

/* Landlock does not ask about any of these, or not before its third version: what the user owns anywhere would be within reach. */
static int touches(struct walls *w)
{
	const struct timespec then[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	int fd = open(in(home, "keep"), O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return 1;
	if (chmod(in(beside, "file"), 0666) == 0 || fchmodat(AT_FDCWD, in(beside, "file"), 0666, 0) == 0)
		return 2;
	if (fchmod(fd, 0644) == 0 || fchmod(fd, 04600) == 0)
		return 3;
	if (truncate(in(beside, "file"), 0) == 0)
		return 4;
	if (utimensat(AT_FDCWD, in(beside, "file"), then, 0) == 0)
		return 5;
	if (fcntl(fd, F_SETOWN, getppid()) == 0 || fcntl(fd, F_SETSIG, SIGKILL) == 0)
		return 6;
	/* and what the daemon itself does */
	if (fchmod(fd, 0600) != 0 || ftruncate(fd, 2) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
		return 7;
	return utimensat(AT_FDCWD, in(home, "keep"), NULL, AT_SYMLINK_NOFOLLOW) != 0 ? 8 : 0;
}

static void files_elsewhere_keep_mode_size_and_time(void **state)
{
	RELAXED_SKIP();
	BEHIND(touches, 0);
}

static void *look_up(void *arg)
{
	struct addrinfo *list, hints = { .ai_socktype = SOCK_STREAM };
	int no = getaddrinfo("localhost", "80", &hints, &list);

	if (no == 0)
		freeaddrinfo(list);
	return (void *)(intptr_t)no;
}

static int works(struct walls *w)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	void *got = NULL;
	pthread_t t;

	if (fd < 0)
		return 1;
	if (pthread_create(&t, NULL, look_up, NULL) != 0 || pthread_join(t, &got) != 0)
		return 2;
	return got ? 3 : 0;
}

static void names_and_sockets_still_work(void **state)
{
	BEHIND(works, 0);
}

static int capable(struct walls *w)
{
	struct walls_proc p;

	walls_proc_read("self", &p);
	/* of root only this is left: the files of others are theirs */
	return p.capable || !p.no_new_privs || chown(in(home, "keep"), 12345, 12345) == 0;
}

static void no_capability_is_left(void **state)
{
	BEHIND(capable, 0);
}

static int crashes(struct walls *w)
{
	if (chdir(home) != 0)
		return 1;
	abort();
}

static void a_crash_leaves_no_core(void **state)
{
	int status;

	RELAXED_SKIP();
	status = behind(crashes);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_false(WCOREDUMP(status));
}

/* --- the environment -------------------------------------------------------------------------------------- */

static int environment(struct walls *w)
{
	bool again;

	if (walls_env_stray())
		return 1;
	setenv("SOMETHING_OF_MINE", "secret", 1);
	if (!walls_env_stray())
		return 2;
	walls_env_clean(&again);
	if (again || getenv("SOMETHING_OF_MINE") || walls_env_stray() || !getenv("IRONMESH_OF_OURS"))
		return 3;
	setenv("LD_LIBRARY_PATH", "/tmp", 1);
	walls_env_clean(&again);
	return !again || getenv("LD_LIBRARY_PATH") || !walls_env_stray();
}

static void only_what_is_on_the_list_stays(void **state)
{
	setenv("IRONMESH_OF_OURS", "1", 1);
	setenv("TMPDIR", "/tmp", 1);
	BEHIND(environment, 0);
}

/* --- the walls of the key process ---------------------------------------------------------------------------- */

static int keys_behind(int what)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (walls_landlock(NULL, 0, true) || walls_seccomp_keys())
			_exit(99);
		if (what == 1)
			(void)!open(in(home, "keep"), O_RDONLY);
		else if (what == 2)
			(void)!socket(AF_UNIX, SOCK_STREAM, 0);
		else if (what == 3)
			(void)!fork();
		else if (what == 4)
			(void)!mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void the_key_process_has_no_file_no_socket_no_child(void **state)
{
	RELAXED_SKIP();
	assert_int_equal(keys_behind(0), 0);
	for (int what = 1; what <= 4; what++)
		assert_int_equal(keys_behind(what), SIGSYS);
}

static int set_up(void **state)
{
	log_setup(&(struct log_config){ .level = LOG_ERROR });
	assert_non_null(mkdtemp(dir));
	snprintf(home, sizeof home, "%s/home", dir);
	snprintf(beside, sizeof beside, "%s/beside", dir);
	snprintf(readable, sizeof readable, "%s/readable", dir);
	assert_int_equal(mkdir(home, 0700), 0);
	assert_int_equal(mkdir(beside, 0755), 0);
	assert_int_equal(mkdir(readable, 0755), 0);
	make_file(in(beside, "file"));
	make_file(in(readable, "file"));
	make_file(in(home, "keep"));
	return symlink("/etc/login.defs", in(home, "link"));
}

static int tear_down(void **state)
{
	char command[100];

	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_raised_is_seen),
		cmocka_unit_test(what_was_not_raised_is_absent),
		cmocka_unit_test(a_thread_that_was_there_is_noticed),
		cmocka_unit_test(the_filter_of_another_is_not_ours),
		cmocka_unit_test(nothing_outside_the_home_folder_is_reached),
		cmocka_unit_test(threads_that_come_later_stand_behind_them_too),
		cmocka_unit_test(what_only_an_intruder_calls_ends_the_process),
		cmocka_unit_test(no_process_no_code_no_odd_socket),
		cmocka_unit_test(files_elsewhere_keep_mode_size_and_time),
		cmocka_unit_test(names_and_sockets_still_work),
		cmocka_unit_test(no_capability_is_left),
		cmocka_unit_test(a_crash_leaves_no_core),
		cmocka_unit_test(only_what_is_on_the_list_stays),
		cmocka_unit_test(the_key_process_has_no_file_no_socket_no_child),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
