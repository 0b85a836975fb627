#!/bin/sh
# Installs the program, its unit, manual pages and completions on this machine, and starts the node. Needs root.
#
#   deploy/install.sh target/release/swarm
#
# Run again to put a newer program in place: the node is restarted and comes back as itself.
set -eu

program=${1:?usage: install.sh PROGRAM}
here=$(cd "$(dirname "$0")" && pwd)

getent group swarm >/dev/null || groupadd --system swarm
install -D -m 0755 "$program" /usr/local/bin/swarm
install -D -m 0644 "$here/swarm.service" /etc/systemd/system/swarm.service
[ -e /etc/swarm/swarm.env ] || install -D -m 0640 "$here/swarm.env" /etc/swarm/swarm.env

/usr/local/bin/swarm man /usr/local/share/man/man1
for shell in bash:bash-completion/completions/swarm zsh:zsh/site-functions/_swarm fish:fish/vendor_completions.d/swarm.fish; do
    file=/usr/local/share/${shell#*:}
    mkdir -p "$(dirname "$file")"
    /usr/local/bin/swarm completion "${shell%%:*}" >"$file"
done

systemctl daemon-reload
systemctl enable swarm.service
systemctl restart swarm.service
swarm version
