/* The network: who listens where, what filters, whether others can be found. */
#include "daemon/doctor_internal.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define TABLE_BYTES (8u << 20)
#define RULES_BYTES (1u << 20)
#define TOOL_MS 5000
#define TCP_LISTEN 10

static const char NOT_RUNNING[] = "no daemon runs on this home folder";

/* --- ports ------------------------------------------------------------------------------------------------------- */
struct listener {
	bool found;
	unsigned long inode;
};

/* The first socket of /proc/net/tcp or tcp6 that listens on `port`. */
static struct listener listener_of(unsigned port)
{
	static const char *const tables[] = { "/proc/net/tcp", "/proc/net/tcp6" };
	struct listener l = { 0 };
	struct buf b;

	for (size_t t = 0; t < 2 && !l.found; t++) {
		char *line, *rest = NULL;

		buf_init(&b, TABLE_BYTES);
		if (doctor_slurp(tables[t], &b)) {
			strtok_r((char *)(uintptr_t)buf_cstr(&b), "\n", &rest);
			while (!l.found && (line = strtok_r(NULL, "\n", &rest))) {
				unsigned at, state;
				unsigned long inode;

				if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu", &at, &state,
					   &inode) == 3 && at == port && state == TCP_LISTEN)
					l = (struct listener){ .found = true, .inode = inode };
			}
		}
		buf_fini(&b);
	}
	return l;
}

static bool has_socket(const char *pid, unsigned long inode)
{
	char path[300], want[40], target[64];
	struct dirent *e;
	DIR *fds;
	bool found = false;

	snprintf(path, sizeof path, "/proc/%s/fd", pid);
	snprintf(want, sizeof want, "socket:[%lu]", inode);
	fds = opendir(path);
	while (fds && !found && (e = readdir(fds))) {
		ssize_t n = readlinkat(dirfd(fds), e->d_name, target, sizeof target - 1);

		if (n > 0) {
			target[n] = '\0';
			found = strcmp(target, want) == 0;
		}
	}
	if (fds)
		closedir(fds);
	return found;
}

/* "nginx (process 812)", or that only root can see it. */
static void owner_of(unsigned long inode, char out[static 120])
{
	char path[300], safe[64];
	struct dirent *e;
	struct buf b;
	DIR *procs = opendir("/proc");

	snprintf(out, 120, "another program (root can see which: ss -tlnp)");
	while (procs && (e = readdir(procs))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !has_socket(e->d_name, inode))
			continue;
		snprintf(path, sizeof path, "/proc/%s/comm", e->d_name);
		buf_init(&b, 64);
		(void)doctor_slurp(path, &b);
		while (b.n && b.p[b.n - 1] == '\n')
			b.n--;
		snprintf(out, 120, "%s (process %.12s)", text_safe(buf_bytes(&b), safe, sizeof safe), e->d_name);
		buf_fini(&b);
		break;
	}
	if (procs)
		closedir(procs);
}

/* From another network namespace the sockets of the daemon cannot be seen. */
static bool same_network(const struct doctor *d)
{
	char path[64], ours[64], theirs[64];
	ssize_t n = readlink("/proc/self/ns/net", ours, sizeof ours - 1), m;

	snprintf(path, sizeof path, "/proc/%lld/ns/net", (long long)doctor_ms(d->status, "pid"));
	m = readlink(path, theirs, sizeof theirs - 1);
	return n <= 0 || m <= 0 || (n == m && memcmp(ours, theirs, (size_t)n) == 0);
}

/* Before a start: whether somebody else is there already. */
static void port_is_free(struct doctor *d, unsigned port)
{
	struct listener l = listener_of(port);
	char who[120];

	if (!l.found) {
		doctor_say(d, DOCTOR_OK, "port %u is free", port);
		return;
	}
	owner_of(l.inode, who);
	doctor_say(d, DOCTOR_WARNING, "port %u, where the daemon is to listen, is taken by %s", port, who);
	doctor_means(d, "The daemon does not start there.");
	doctor_fix(d, "ironmesh run --port 0 --home %s   (a free port; or end the other program)", d->home_word);
}

void doctor_ports(struct doctor *d)
{
	char host[256];
	struct listener l;
	unsigned port, shown = 0;
	size_t i;

	if (!d->status) {
		if (d->listen && d->port)
			port_is_free(d, d->port);
		else
			doctor_say(d, DOCTOR_SKIPPED, "%s", NOT_RUNNING);
		return;
	}
	if (!same_network(d)) {
		doctor_say(d, DOCTOR_SKIPPED, "the daemon is in another network namespace");
		return;
	}
	for (i = 0; doctor_listens(d, i, host, &port); i++) {
		l = listener_of(port);
		if (l.found)
			continue;
		shown++;
		doctor_say(d, DOCTOR_FAILURE, "nobody listens on port %u, where the daemon should", port);
		doctor_means(d, "Peers cannot connect to this node; it can still connect to them.");
		doctor_fix(d, "sudo systemctl restart ironmesh   (or stop the daemon and start it again)");
	}
	if (shown)
		return;
	if (i == 0) {
		doctor_say(d, DOCTOR_OK, "the daemon accepts no connections (--no-listen)");
		return;
	}
	(void)doctor_listens(d, 0, host, &port);
	doctor_say(d, DOCTOR_OK, "port %u is open", port);
}

/* --- packet filters ------------------------------------------------------------------------------------------------ */
static bool is_loopback(const char *host)
{
	return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}

/* What a tool prints, its end included in time. Nothing of our environment goes there. */
static bool ask_tool(const char *const *argv, struct buf *out)
{
	static char *const env[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)"LC_ALL=C", NULL };
	int pipes[2], status = 0;
	uint8_t piece[4096];
	ssize_t n = 0;
	pid_t pid;

	if (access(argv[0], X_OK) != 0 || pipe2(pipes, O_CLOEXEC) != 0)
		return false;
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(pipes[1], 1);
		dup2(null, 2);
		execve(argv[0], (char *const *)(uintptr_t)argv, env);
		_exit(127);
	}
	close(pipes[1]);
	while (pid > 0 && poll(&(struct pollfd){ .fd = pipes[0], .events = POLLIN }, 1, TOOL_MS) == 1 &&
	       (n = read(pipes[0], piece, sizeof piece)) > 0 && (size_t)n <= out->max - out->n)
		buf_add(out, bytes_of(piece, (size_t)n));
	close(pipes[0]);
	if (pid <= 0)
		return false;
	if (n != 0)
		kill(pid, SIGKILL);
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The chain in `rules` (of `nft list ruleset`) that drops what comes in, without a word about the port: its family, table
 * and name for a command. */
static bool nft_blocks(char *rules, unsigned port, char family[static 16], char table[static 64], char chain[static 64])
{
	char name[64] = "", want[24], *line, *rest = NULL;
	bool input = false, drops = false, mentions = false;

	snprintf(want, sizeof want, "%u", port);
	for (line = strtok_r(rules, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *dport;

		if (sscanf(line, "table %15s %63s", family, table) == 2)
			continue;
		if (sscanf(line, " chain %63s", name) == 1) {
			input = drops = mentions = false;
		} else if (strstr(line, "hook input")) {
			input = true;
			drops |= strstr(line, "policy drop") != NULL;
		} else if (input && (dport = strstr(line, "dport")) && strstr(dport, want) && strstr(line, "accept")) {
			mentions = true;
		} else if (input && (strcmp(line + strspn(line, "\t "), "drop") == 0 || strstr(line, "reject with") || strcmp(line + strspn(line, "\t "), "reject") == 0)) {
			drops |= !strstr(line, "saddr");
		} else if (strcmp(line, "\t}") == 0 && input && drops && !mentions) {
			snprintf(chain, 64, "%s", name);
			return true;
		}
	}
	return false;
}

void doctor_firewall(struct doctor *d)
{
	static const char *const nft[] = { "/usr/sbin/nft", "list", "ruleset", NULL };
	static const char *const iptables[] = { "/usr/sbin/iptables", "-S", "INPUT", NULL };
	char host[256], family[16] = "", table[64] = "", chain[64] = "", want[24];
	unsigned port = 0;
	bool outside = false, asked;
	struct buf b;
	size_t i;

	if (!d->status) {
		doctor_say(d, DOCTOR_SKIPPED, "%s", NOT_RUNNING);
		return;
	}
	for (i = 0; !outside && doctor_listens(d, i, host, &port); i++)
		outside = !is_loopback(host);
	if (!outside) {
		doctor_say(d, DOCTOR_OK, "nobody else connects to this node");
		return;
	}
	if (geteuid() != 0) {
		doctor_say(d, DOCTOR_SKIPPED, "only root can see the rules of a packet filter");
		return;
	}
	if (!same_network(d)) {
		doctor_say(d, DOCTOR_SKIPPED, "the daemon is in another network namespace");
		return;
	}
	buf_init(&b, RULES_BYTES);
	asked = ask_tool(nft, &b);
	if (asked && nft_blocks((char *)(uintptr_t)buf_cstr(&b), port, family, table, chain)) {
		doctor_say(d, DOCTOR_WARNING, "the packet filter drops what comes to port %u (chain %s of table %s %s)", port, chain, family, table);
		doctor_means(d, "Peers cannot connect to this node; it can still connect to them.");
		doctor_fix(d, "sudo nft insert rule %s %s %s tcp dport %u accept", family, table, chain, port);
		buf_fini(&b);
		return;
	}
	buf_reset(&b);
	if (!asked && ask_tool(iptables, &b)) {
		asked = true;
		snprintf(want, sizeof want, "--dport %u ", port);
		if (strstr(buf_cstr(&b), "-P INPUT DROP") && !strstr(buf_cstr(&b), want)) {
			doctor_say(d, DOCTOR_WARNING, "the packet filter drops what comes to port %u (chain INPUT)", port);
			doctor_means(d, "Peers cannot connect to this node; it can still connect to them.");
			doctor_fix(d, "sudo iptables -I INPUT -p tcp --dport %u -j ACCEPT", port);
			buf_fini(&b);
			return;
		}
	}
	buf_fini(&b);
	if (asked)
		doctor_say(d, DOCTOR_OK, "no rule of this machine is in the way of port %u", port);
	else
		doctor_say(d, DOCTOR_SKIPPED, "neither nft nor iptables is there to ask");
}

/* --- discovery --------------------------------------------------------------------------------------------------------- */
/* False: `d` has said why nothing is looked at. */
static bool discovers(struct doctor *d)
{
	const char *scope = json_str(json_object_get(d->status, "discovery"), "scope");

	if (!d->status)
		doctor_say(d, DOCTOR_SKIPPED, "%s", NOT_RUNNING);
	else if (scope && strcmp(scope, "off") == 0)
		doctor_say(d, DOCTOR_SKIPPED, "discovery is off (--discovery off)");
	else
		return true;
	return false;
}

void doctor_multicast(struct doctor *d)
{
	struct ifaddrs *list = NULL;
	char silent[IF_NAMESIZE] = "";
	bool good = false;

	if (!discovers(d))
		return;
	if (!same_network(d)) {
		doctor_say(d, DOCTOR_SKIPPED, "the daemon is in another network namespace");
		return;
	}
	if (getifaddrs(&list) != 0)
		list = NULL;
	for (struct ifaddrs *i = list; i; i = i->ifa_next) {
		if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6) ||
		    !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK))
			continue;
		if (i->ifa_flags & IFF_MULTICAST)
			good = true;
		else
			snprintf(silent, sizeof silent, "%s", i->ifa_name);
	}
	freeifaddrs(list);
	if (good) {
		doctor_say(d, DOCTOR_OK, "an interface carries it");
	} else if (silent[0]) {
		doctor_say(d, DOCTOR_WARNING, "no interface carries multicast; %s does not", silent);
		doctor_means(d, "Peers are not found by themselves; --peer HOST:PORT still works.");
		doctor_fix(d, "sudo ip link set dev %s multicast on", silent);
	} else {
		doctor_say(d, DOCTOR_WARNING, "no network interface is up");
		doctor_means(d, "This node reaches nobody but programs on this machine.");
		doctor_fix(d, "ip -br address   (then switch one on: sudo ip link set dev NAME up)");
	}
}

void doctor_avahi(struct doctor *d)
{
	const json_t *o = json_object_get(d->status, "discovery");
	const char *mdns = json_str(o, "mdns"), *why = json_str(o, "why");
	bool installed = access("/usr/sbin/avahi-daemon", X_OK) == 0;

	if (!discovers(d))
		return;
	if (mdns && strcmp(mdns, "down") != 0 && strcmp(mdns, "off") != 0) {
		doctor_say(d, DOCTOR_OK, "mDNS is %s", mdns);
		return;
	}
	doctor_say(d, DOCTOR_WARNING, "avahi does not answer%s%s", why && *why ? ": " : "", why ? why : "");
	doctor_means(d, "Peers are not found by themselves; --peer HOST:PORT still works. It is looked for again now and then.");
	doctor_fix(d, installed ? "sudo systemctl enable --now avahi-daemon   (or --discovery off)" :
				  "sudo apt-get install avahi-daemon   (or --discovery off)");
}
