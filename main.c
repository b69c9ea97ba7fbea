/*
 * main.c -- the front door: the only file that knows both the command line and the daemon.
 */
#include <fcntl.h>
#include <unistd.h>

#include "cli/cli.h"
#include "daemon/daemon.h"
#include "daemon/doctor.h"

/* One of them that is closed would be the next file that is opened, and get what is said to people. */
static void hold_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			_exit(EXIT_GENERIC);
}

int main(int argc, char **argv)
{
	static const struct cli_host host = {
		.run = daemon_run,
		.run_option = daemon_run_option,
		.offline = daemon_offline,
		.call = daemon_call_offline,
		.work = daemon_work,
		.doctor = daemon_doctor,
		.doctor_reach = daemon_doctor_reach,
		.doctor_judge = daemon_doctor_judge,
		.doctor_check = daemon_doctor_check,
	};

	hold_standard_descriptors();
	return cli_main(argc, argv, &host);
}
