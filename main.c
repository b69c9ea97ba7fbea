/*
 * main.c -- the front door: the only file that knows both the command line and the daemon.
 */
#include "cli/cli.h"
#include "daemon/daemon.h"
#include "daemon/doctor.h"

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

	return cli_main(argc, argv, &host);
}
