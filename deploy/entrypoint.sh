#!/bin/sh
# Runs the container's command. Docker lets any user listen at port 80, podman does not: the command then gets the one
# capability for that, if the container may have it.
if [ "$(id -u)" != 0 ] && [ "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start 2>/dev/null || echo 0)" -gt 80 ]; then
    low_ports="setpriv-low-ports --inh-caps +net_bind_service --ambient-caps +net_bind_service"
    if $low_ports true 2>/dev/null; then
        exec $low_ports ${TMPDIR:+env "TMPDIR=$TMPDIR"} "$@"  # which a program with a capability of its own would lose
    fi
    case "$* " in *:80\ *)
        echo "This container may not listen at port 80. Run it with --sysctl net.ipv4.ip_unprivileged_port_start=0," \
            "or at another port: gunicorn --bind 0.0.0.0:8000 wsgi:app" >&2 ;;
    esac
fi
exec "$@"
