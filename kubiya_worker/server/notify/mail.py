"""The channel `email`: one plain text to one or more addresses, by SMTP with TLS."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any, Final

from kubiya_worker.addresses import Address
from kubiya_worker.server.notify.letter import Letter
from kubiya_worker.server.notify.outgoing import Outgoing, Undelivered

STARTTLS: Final = "starttls"
TLS: Final = "tls"
NONE: Final = "none"
MODES: Final = (STARTTLS, TLS, NONE)
PORTS: Final = {STARTTLS: 587, TLS: 465, NONE: 25}
PATIENCE: Final = 10.0  # seconds for one answer of the server


def server_of(channel: dict[str, Any]) -> tuple[str, int]:
    """Return the host and the port of a mail server. Raises ValueError for another text than HOST or HOST:PORT."""
    text = str(channel["server"])
    host, colon, port = text.rpartition(":") if ":" in text and not text.endswith("]") else (text, "", "")
    number = int(port) if colon else PORTS[channel.get("tls") or STARTTLS]
    host = host.strip("[]").lower()
    if not host or not 0 < number < 65_536 or any(c.isspace() or c in "/@" for c in host):
        raise ValueError("server is HOST or HOST:PORT")
    return host, number


async def send(letter: Letter, out: Outgoing) -> None:
    host, port = server_of(letter.channel)
    addresses = await out.addresses_of(host, port)
    session = _Session(letter.channel, host, port, addresses)
    try:
        await session.run(_message(letter))
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        raise Undelivered(f"{host} refuses the recipients ({codes[0]})", final=all(c >= 500 for c in codes)) from None
    except smtplib.SMTPNotSupportedError:
        raise Undelivered(f"{host} does not offer what the channel needs: TLS, or signing in") from None
    except smtplib.SMTPResponseException as error:
        final = error.smtp_code >= 500 and isinstance(error, smtplib.SMTPDataError)
        raise Undelivered(f"{host} answers {error.smtp_code}", final=final) from None
    except ssl.SSLError as error:
        raise Undelivered(f"{host}: TLS failed ({error.reason or type(error).__name__})") from None
    except (smtplib.SMTPException, OSError) as error:
        raise Undelivered(
            f"{host} cannot be reached ({getattr(error, 'strerror', None) or type(error).__name__})"
        ) from None


def _message(letter: Letter) -> EmailMessage:
    """Return the mail. Its id is the same at each try, so that servers and readers know what they have already."""
    letter_message = EmailMessage()
    letter_message["From"], letter_message["To"] = str(letter.channel["sender"]), ", ".join(letter.channel["to"])
    letter_message["Subject"] = f"[Kubiya] {letter.data['title']}"
    letter_message["Date"] = formatdate(letter.at)
    letter_message["Message-ID"] = f"<{letter.id}@{str(letter.channel['sender']).rpartition('@')[2].strip('<> ')}>"
    letter_message["Auto-Submitted"] = "auto-generated"  # so that no absence note answers it
    letter_message.set_content(letter.plain)
    return letter_message


class _Session:
    """One talk with a mail server, in a thread of its own, which a cancellation ends by closing its socket."""

    def __init__(self, channel: dict[str, Any], host: str, port: int, addresses: Sequence[Address]) -> None:
        self._channel, self._host, self._port, self._found = channel, host, port, addresses
        self._mode = channel.get("tls") or STARTTLS
        self._socket: socket.socket | None = None

    async def run(self, message: EmailMessage) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def tell(error: BaseException | None) -> None:
            if not ended.done():
                ended.set_exception(error) if error is not None else ended.set_result(None)

        def work() -> None:
            error: BaseException | None = None
            try:
                self._deliver(message)
            except Exception as caught:
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell, error)

        threading.Thread(target=work, name="mail", daemon=True).start()
        try:
            await ended
        except asyncio.CancelledError:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
            raise

    def _deliver(self, message: EmailMessage) -> None:
        session = self

        class MailClient(smtplib.SMTP):
            def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
                """Connect to a checked address; TLS still asks for the name."""
                connected = session.connect(timeout)
                if session._mode == TLS:
                    return ssl.create_default_context().wrap_socket(connected, server_hostname=host)
                return connected

        with MailClient(self._host, self._port, timeout=PATIENCE) as client:
            if self._mode == STARTTLS:
                client.starttls(context=ssl.create_default_context())
            if self._channel.get("username"):
                client.login(str(self._channel["username"]), str(self._channel.get("password") or ""))
            client.send_message(message)

    def connect(self, timeout: float) -> socket.socket:
        failure: OSError | None = None
        for address in self._found[:4]:
            try:
                self._socket = socket.create_connection((str(address), self._port), timeout)
                return self._socket
            except OSError as error:
                failure = error
        raise failure or OSError("no address")
