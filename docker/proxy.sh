#!/bin/sh
# Writes nginx's configuration and password file into PROXY_RUN (default /tmp), then becomes nginx.
set -eu
here=$(dirname "$0")
export PROXY_RUN="${PROXY_RUN:-/tmp}"

# ":" and "#" end a password in nginx's file: "#secret" would be an empty one.
for value in "$B2B_UI_USER" "$B2B_UI_PASSWORD"; do
    case "$value" in
        "" | *[!A-Za-z0-9._~-]*)
            echo "B2B_UI_USER and B2B_UI_PASSWORD take letters, digits and . _ ~ - only, and may not be empty" >&2
            exit 1
            ;;
    esac
done

umask 077
echo "$B2B_UI_USER:{PLAIN}$B2B_UI_PASSWORD" >"$PROXY_RUN/htpasswd"
envsubst '$PROXY_LISTEN $PROXY_UPSTREAM $PROXY_RUN $B2B_UI_HOSTS' <"$here/nginx.conf.template" >"$PROXY_RUN/nginx.conf"
exec nginx -e stderr -c "$PROXY_RUN/nginx.conf"
