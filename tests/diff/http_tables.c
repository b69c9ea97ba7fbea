/*
 * http_tables.c -- prints the methods with their roles, or the metrics, as Markdown, from the tables of the program:
 * http_tables methods | metrics
 */
#include <stdio.h>

#include "daemon/metrics.h"

static const char *role(const struct command *m)
{
	if (!(m->flags & CMD_ONLINE))
		return "-";
	return m->flags & CMD_READ ? "read" : m->flags & CMD_SEND ? "send" : m->flags & CMD_ADMIN ? "admin" : "-";
}

static void methods(void)
{
	const struct command *m;

	puts("| method | role | parameters |\n|---|---|---|");
	for (size_t i = 0; (m = command_at(i)); i++) {
		printf("| `%s` | %s | ", m->method, role(m));
		for (size_t k = 0; k < COMMAND_PARAMS && m->params[k].name; k++)
			printf("%s%s%s", k ? ", " : "", m->params[k].name, m->params[k].required ? "*" : "");
		puts(" |");
	}
}

static void metrics(void)
{
	const struct om_family *f;
	bool per_peer;

	puts("| family | type | unit | labels | what it is |\n|---|---|---|---|---|");
	for (size_t i = 0; (f = metrics_family(i, &per_peer)); i++)
		printf("| `%s` | %s | %s | %s | %s%s |\n", f->name, om_type_word(f->type), f->unit ? f->unit : "-",
		       f->labels ? f->labels : "", f->help, per_peer ? " Only with `metrics_per_peer`." : "");
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "methods") == 0)
		methods();
	else if (argc == 2 && strcmp(argv[1], "metrics") == 0)
		metrics();
	else
		return 2;
	return 0;
}
