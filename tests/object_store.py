"""An S3 service of the test's own: OpenStack Swift behind its S3 API, as processes that can be killed and stalled.

Swift is what Debian has of real object stores. `FOOTNOTE_TEST_S3_URL=s3://bucket/prefix` names another one, with
`FOOTNOTE_TEST_S3_ENDPOINT`, `FOOTNOTE_TEST_S3_ACCESS_KEY` and `FOOTNOTE_TEST_S3_SECRET_KEY`.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import obstore
from obstore.store import S3Store
from pydantic import SecretStr

from core.settings import Settings
from footnote.topology.servers import free_port, listens
from tests.processes import end_with_the_tests

SECONDS = 60.0
ACCESS_KEY, SECRET = "test:tester", "not-a-secret"
BUCKET = "footnote"
KINDS = ("account", "container", "object")
NEEDED = ("swift-proxy-server", *(f"swift-{kind}-server" for kind in KINDS), "swift-ring-builder", "memcached")
_SERVER = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
"""
# By itself an object server tells that an object is written though the listing does not have it after a second, and the
# proxy gives up a server to which it was not connected in half a second: on a machine that is busy both happen.
_STORAGE = """\
devices = {folder}/devices
mount_check = false
fallocate_reserve = {reserve}
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
container_update_timeout = 60
node_timeout = 60
conn_timeout = 10
"""
_PROXY = """\
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache s3api tempauth bulk slo dlo proxy-server
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{cache}
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_interval = 0
node_timeout = 60
conn_timeout = 10
"""


@dataclass
class Swift:
    """One proxy, one account, container and object server, on one disk, in the folder."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['proxy']}"

    def start(self) -> "Swift":
        """Make rings and settings, start all servers, and make the bucket."""
        self.folder.mkdir(parents=True)
        (self.folder / "devices" / "disk").mkdir(parents=True)
        (self.folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = tests\n")
        self.ports = {name: free_port() for name in ("proxy", *KINDS, "memcached")}
        for kind in KINDS:
            ring = str(self.folder / f"{kind}.builder")
            for command in (
                ("create", "4", "1", "0"),
                ("add", f"r1z1-127.0.0.1:{self.ports[kind]}/disk", "1"),
                ("rebalance",),
            ):
                subprocess.run(["swift-ring-builder", ring, *command], capture_output=True, check=False)
            self._configure(kind, _STORAGE.format(folder=self.folder, kind=kind, reserve=0))
        self._configure("proxy", _PROXY.format(cache=self.ports["memcached"], secret=SECRET))
        for name in self.ports:
            self.run(name)
        for name in self.ports:
            self.wait_for(name)
        bucket = S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
        )
        deadline = time.monotonic() + SECONDS
        while (answer := _made(bucket)) is not None:  # A server that listens need not yet find the others.
            assert time.monotonic() < deadline, answer
            time.sleep(0.2)
        return self

    def run(self, name: str) -> None:
        """Start one of the servers (again)."""
        command = [f"swift-{name}-server", str(self.folder / f"{name}.conf"), "-v"]
        if name == "memcached":
            command = [name, "-l", "127.0.0.1", "-p", str(self.ports[name]), "-u", _user()]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=end_with_the_tests,  # noqa: PLW1509 - it calls the kernel alone
            )

    def wait_for(self, name: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not listens(self.ports[name]):
            assert self.processes[name].poll() is None, (self.folder / f"{name}.log").read_text()[-2_000:]
            assert time.monotonic() < deadline, name
            time.sleep(0.05)

    def send(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        self.send(name, signal.SIGKILL)
        self.processes[name].wait(SECONDS)

    def restart(self, name: str) -> None:
        self.run(name)
        self.wait_for(name)

    def reserve(self, share: str) -> None:
        """Let the object server take nothing that leaves less than this share of its disk free."""
        self.kill("object")
        self._configure("object", _STORAGE.format(folder=self.folder, kind="object", reserve=share))
        self.restart("object")

    def end(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(SECONDS)

    def _configure(self, name: str, text: str) -> None:
        head = _SERVER.format(port=self.ports[name], user=_user(), folder=self.folder)
        (self.folder / f"{name}.conf").write_text(head + text)


def _made(bucket: S3Store) -> str | None:
    """Make the bucket; return what was answered where there is none now."""
    try:
        url = obstore.sign(bucket, "PUT", "", timedelta(minutes=1))
        answer = httpx.put(url, trust_env=False, timeout=SECONDS)
    except httpx.TransportError as error:
        return repr(error)
    # An attempt that was answered with an error may have made it all the same.
    return None if answer.is_success or "BucketAlreadyOwnedByYou" in answer.text else answer.text


def missing() -> str | None:
    """Why no server can be started here; None where one can."""
    absent = [program for program in NEEDED if shutil.which(program) is None]
    if absent:
        return "Swift is not installed (Debian: swift-proxy swift-account swift-container swift-object memcached)"
    return None


def named_settings(prefix: str) -> Settings | None:
    """The service that the environment names, with a prefix of the test's own; None where it names none."""
    url = os.environ.get("FOOTNOTE_TEST_S3_URL")
    if url is None:
        return None
    return Settings(
        blobs=f"{url.rstrip('/')}/{prefix}",
        s3_endpoint=os.environ.get("FOOTNOTE_TEST_S3_ENDPOINT"),
        s3_access_key=os.environ.get("FOOTNOTE_TEST_S3_ACCESS_KEY"),
        s3_secret_key=SecretStr(os.environ["FOOTNOTE_TEST_S3_SECRET_KEY"]),
    )


def settings_of(swift: Swift, prefix: str) -> Settings:
    return Settings(
        blobs=f"s3://{BUCKET}/{prefix}",
        s3_endpoint=swift.endpoint,
        s3_access_key=ACCESS_KEY,
        s3_secret_key=SecretStr(SECRET),
    )


def environment_of(swift: Swift, prefix: str) -> dict[str, str]:
    """The same as `FOOTNOTE_*` without the prefix, for processes."""
    return {
        "blobs": f"s3://{BUCKET}/{prefix}",
        "s3_endpoint": swift.endpoint,
        "s3_access_key": ACCESS_KEY,
        "s3_secret_key": SECRET,
    }


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
