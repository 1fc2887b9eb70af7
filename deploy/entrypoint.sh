#!/bin/sh
# Runs the container's command. In Docker any user may listen at port 80, in podman not: there, a command with ":80"
# gets CAP_NET_BIND_SERVICE, if the container has it. The system removes some variables from programs with a file
# capability (secure-execution mode, ld.so(8)); `env` restores them.
case "$* " in *:80\ *)
    if [ "$(id -u)" != 0 ] && [ "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start 2>/dev/null || echo 0)" -gt 80 ]; then
        low_ports="setpriv-low-ports --inh-caps +net_bind_service --ambient-caps +net_bind_service"
        if $low_ports true 2>/dev/null; then
            exec $low_ports env ${TMPDIR:+"TMPDIR=$TMPDIR"} ${TZDIR:+"TZDIR=$TZDIR"} \
                ${LD_PRELOAD:+"LD_PRELOAD=$LD_PRELOAD"} ${LD_LIBRARY_PATH:+"LD_LIBRARY_PATH=$LD_LIBRARY_PATH"} "$@"
        fi
        echo "This container may not listen at port 80. Run it with --sysctl net.ipv4.ip_unprivileged_port_start=0," \
            "or at another port: gunicorn --bind 0.0.0.0:8000 wsgi:app" >&2
    fi ;;
esac
exec "$@"
