#!/bin/sh
# Writes nginx's configuration and password file into PROXY_RUN (default /tmp), then becomes nginx.
set -eu
here=$(dirname "$0")
export PROXY_RUN="${PROXY_RUN:-/tmp}"

fail() {
    echo "$1" >&2
    exit 1
}

# ":" and "#" end a password in nginx's file: "#secret" would be an empty one.
case "$B2B_UI_USER" in
    "" | *[!A-Za-z0-9._~-]*) fail "B2B_UI_USER takes letters, digits and . _ ~ - only, and may not be empty" ;;
esac
case "$B2B_UI_PASSWORD" in
    *"
"*) fail "B2B_UI_PASSWORD takes letters, digits and . _ ~ - only" ;;
    '$6$'*'$'* | '$5$'*'$'*) # a hash of crypt(3)
        case "$B2B_UI_PASSWORD" in
            *[!A-Za-z0-9./=\$]*) fail "B2B_UI_PASSWORD begins like a hash, but is none: openssl passwd -6 makes one" ;;
        esac
        hash=$B2B_UI_PASSWORD
        ;;
    "" | *[!A-Za-z0-9._~-]*) fail "B2B_UI_PASSWORD takes letters, digits and . _ ~ - only, and may not be empty" ;;
    ????????????*) hash=$(printf '%s\n' "$B2B_UI_PASSWORD" | openssl passwd -6 -stdin) ;;
    *) fail "B2B_UI_PASSWORD is too short: letters, digits and . _ ~ -, 12 at least; openssl rand -hex 24 makes a good one" ;;
esac

umask 077
echo "$B2B_UI_USER:$hash" >"$PROXY_RUN/htpasswd"
unset B2B_UI_PASSWORD hash

# Whoever has given the password once is no longer counted as guessing; the cookie opens nothing by itself.
PROXY_KNOWN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
PROXY_SSL="" PROXY_COOKIE="" PROXY_TLS="$here/tls"
if [ -f "$PROXY_TLS/tls.crt" ] && [ -f "$PROXY_TLS/tls.key" ]; then
    PROXY_SSL=" ssl" PROXY_COOKIE="; Secure"
    printf 'ssl_certificate %s/tls.crt;\nssl_certificate_key %s/tls.key;\n' "$PROXY_TLS" "$PROXY_TLS" >"$PROXY_RUN/tls.conf"
    echo 'ssl_protocols TLSv1.2 TLSv1.3;' >>"$PROXY_RUN/tls.conf"
else
    : >"$PROXY_RUN/tls.conf"
fi
export PROXY_KNOWN PROXY_SSL PROXY_COOKIE
names='$PROXY_LISTEN $PROXY_UPSTREAM $PROXY_RUN $PROXY_KNOWN $PROXY_SSL $PROXY_COOKIE $B2B_UI_HOSTS'
envsubst "$names" <"$here/nginx.conf.template" >"$PROXY_RUN/nginx.conf"
exec nginx -e stderr -c "$PROXY_RUN/nginx.conf"
