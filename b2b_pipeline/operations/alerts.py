"""Telling people: a webhook that understands Slack's payload, whose URL is a secret from the environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape

import requests

from b2b_pipeline.configuration.config import Alerts
from b2b_pipeline.connectors.http import TIMEOUT
from b2b_pipeline.connectors.transport import Transport
from b2b_pipeline.errors import TransientError
from b2b_pipeline.privacy import keep_secret


def tell(lines: Sequence[str], alerts: Alerts) -> bool:
    """Post the lines as one message; False when no webhook is configured.

    Raises TransientError, without the URL, when the webhook does not take it.
    """
    url = os.environ.get(alerts.webhook_env, "")
    if not url:
        return False
    keep_secret(url)
    # Unescaped, a file named `<!channel>` would call everybody (docs.slack.dev/messaging/formatting-message-text).
    text = escape("\n".join(lines), quote=False)
    try:
        with Transport() as http:
            response = http.post(url, json={"text": text}, timeout=TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        raise TransientError(f"the webhook in {alerts.webhook_env} does not answer: {type(error).__name__}") from None
    if response.status_code not in range(200, 300):
        raise TransientError(f"the webhook in {alerts.webhook_env} refused the message: status {response.status_code}")
    return True
