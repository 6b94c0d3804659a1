#!/bin/sh
# What a container begins with. Its user is 10001 and may be any other (--user). Who wants files in /data to belong to
# somebody on the host may instead start it as root with PUID and PGID; it then becomes that user, for good.
set -eu
if [ "$(id -u)" = 0 ]; then
    uid="${PUID:-10001}" gid="${PGID:-10001}"
    for number in "$uid" "$gid"; do
        case "$number" in
            0* | *[!0-9]*) echo "PUID and PGID are numbers above 0, not '$number'" >&2; exit 64 ;;
        esac
    done
    # Only what belongs to somebody else: a volume with many files would be slow to begin with.
    find /data ! \( -user "$uid" -group "$gid" \) -exec chown "$uid:$gid" {} +
    exec setpriv --reuid "$uid" --regid "$gid" --clear-groups --no-new-privs --bounding-set=-all "$@"
fi
exec "$@"
