/** Init scripts, as the Linux Standard Base has them; also for chkconfig. They call `queue-daemon`, which does the work. */
import { commandOf, idOf, markOf, titleOf, type Plan, type Service } from './service.ts';

export interface SysvPlace {
  /** What makes the links for the run levels; undefined: nothing is there that does. */
  linker: 'update-rc.d' | 'chkconfig' | undefined;
  /** Another system's files, which does not run now. */
  root: string | undefined;
}

export function sysvPlan(service: Service, { linker, root }: SysvPlace): Plan {
  const id = idOf(service);
  const path = `/etc/init.d/${id}`;
  const runs = root === undefined;
  const enabled =
    linker === 'chkconfig' ? [['chkconfig', '--add', id]] : [[linker ?? 'update-rc.d', id, 'defaults']];
  const disabled = linker === 'chkconfig' ? ['chkconfig', '--del', id] : undefined;
  return {
    init: 'sysv',
    id,
    files: [{ path, mode: 0o755, content: script(service) }],
    others: [],
    made: [],
    enabled: runs ? [...enabled, [path, 'start']] : [],
    disabled: runs ? [[path, 'stop'], ...(disabled ? [disabled] : [])] : [],
    // It wants the script gone.
    removed: runs && !disabled ? [[linker ?? 'update-rc.d', id, 'remove']] : [],
    unable: [
      'an init script starts a daemon once and never looks at it again, so onFailure, recoveryDelay and resetPeriod do ' +
        'nothing; a line of a crontab with "queue-daemon verify --all --revive" starts again what has failed',
    ],
    next: [...enabled.map((command) => command.join(' ')), `${path} start`],
  };
}

function script(service: Service): string {
  const { folder, account, environment } = service;
  const id = idOf(service);
  const title = titleOf(service);
  // The verb, and its own options, are in its arguments.
  const [node = '', script = '', ...rest] = commandOf(service);
  return `#!/bin/sh
# ${markOf(service)}
# chkconfig: 2345 95 05
# description: ${title}
### BEGIN INIT INFO
# Provides:          ${id}
# Required-Start:    $remote_fs $syslog $network
# Required-Stop:     $remote_fs $syslog $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: ${title}
# Description:       Starts and stops the ${title.replace('Coda daemon', 'daemon')} of a Coda installation.
### END INIT INFO

id=${quoted(id)}
account=${quoted(account ?? 'root')}
node=${quoted(node)}
script=${quoted(script)}
folder=${quoted(folder)}
${Object.entries(environment)
  .map(([name, value]) => `export ${name}=${quoted(value)}\n`)
  .join('')}
# Local settings, as NAME=value.
if [ -r "/etc/default/$id" ]; then
  set -a
  . "/etc/default/$id"
  set +a
fi

# Ends with the exit codes of the Linux Standard Base: 4 no right to, 5 not installed, 6 not configured, 7 not running.
fail() {
  echo "$id: $2" >&2
  exit "$1"
}

[ -x "$node" ] || { [ "$1" = status ] && exit 4; fail 5 "no Node at $node"; }
[ -r "$script" ] || { [ "$1" = status ] && exit 4; fail 5 "no Coda at $script"; }

coda() {
  verb=$1
  shift
  set -- "$node" "$script" "$verb" "$@" ${rest.map(quoted).join(' ')}
  if [ "$(id -un)" = "$account" ]; then
    "$@"
  else
    runuser -u "$account" -- "$@"
  fi
}

# What the exit code of a verb means here.
told() {
  case $1 in
    0) return 0 ;;
    64) return 5 ;;
    78) return 6 ;;
    *) return 1 ;;
  esac
}

rights() {
  [ "$(id -un)" = "$account" ] && return
  [ "$(id -u)" -eq 0 ] || fail 4 "no right to: it runs as $account"
  command -v runuser >/dev/null || fail 5 "runuser, of util-linux, is not there"
}

up() {
  coda status >/dev/null 2>&1
}

cd "$folder" 2>/dev/null || { [ "$1" = status ] && exit 4; fail 5 "no folder $folder, or no right to enter it"; }

case "$1" in
  start)
    rights
    up && exit 0
    coda start
    told $?
    ;;
  stop)
    rights
    coda stop
    told $?
    ;;
  restart)
    rights
    coda restart
    told $?
    ;;
  reload | force-reload)
    rights
    up || fail 7 'does not run'
    coda reload
    told $?
    ;;
  condrestart | try-restart)
    rights
    coda condrestart
    told $?
    ;;
  status)
    rights
    coda status
    code=$?
    case $code in
      0 | 1 | 3) exit $code ;;
      *) exit 4 ;;
    esac
    ;;
  *)
    echo "Usage: $0 {start|stop|restart|try-restart|condrestart|reload|force-reload|status}" >&2
    exit 2
    ;;
esac
`;
}

/** A word of the shell in which nothing has a meaning. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
