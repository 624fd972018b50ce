"""The unit of `kubiya worker install-service --system` under a systemd that has booted."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.deploy import engine
from tests.support.recording_proxy import RecordingProxy
from tests.support.stack import ROOT, Stack, free_port, wait_until
from tests.support.systemd_container import BASE, KUBIYA, PACKAGES, Machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

UNIT = "kubiya-worker-default"
DROP_IN = f"/etc/systemd/system/{UNIT}.service.d/override.conf"
IMAGE = "kubiya-worker-systemd:test"
SLEEP = 'demo:script [{"tools": [{"name": "sleep", "arguments": {"seconds": %s}}]}, {"text": "slept"}]'
PATIENCE = 60.0


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with engine.engine() as address:
        engine.build(address, BASE, IMAGE, PACKAGES)
        with Machine(address, IMAGE) as booted:
            yield booted


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(machine: Machine) -> Iterator[None]:
    machine.since = time.time()
    yield
    print(machine.journal(UNIT)[-4000:])  # shown when the test has failed
    machine.run(KUBIYA, "worker", "uninstall-service", "--system", "--queue-id", "default", check=False)
    rest = f"{DROP_IN.rpartition('/')[0]} /etc/kubiya-worker"
    machine.sh(f"systemctl kill -s KILL {UNIT}; rm -rf {rest}; systemctl daemon-reload", check=False)


def variables(stack: Stack, **env: str) -> dict[str, str]:
    return {"KUBIYA_API_KEY": stack.key, "CONTROL_PLANE_GATEWAY_URL": stack.url, **env}


def install(machine: Machine, stack: Stack, *flags: str, **env: str) -> str:
    """Install the service and return the output of the command."""
    argv = [KUBIYA, "worker", "install-service", "--system", "--queue-id", "default", *flags]
    done = machine.run(*argv, env=variables(stack, **env))
    return done.stdout + done.stderr


def drop_in(machine: Machine, text: str) -> None:
    """Write a drop-in for the unit, as `systemctl edit` does."""
    machine.write(DROP_IN, text)
    machine.run("systemctl", "daemon-reload")


def shell(stack: Stack, *commands: str) -> list[str]:
    """Run these commands in an agent's shell and return the output of each."""
    calls = [{"name": "shell", "arguments": {"command": command}} for command in commands]
    script = json.dumps([*({"text": "", "tools": [call]} for call in calls), {"text": "done"}])
    allowed = sorted({command.split()[0] for command in commands})
    agent = stack.agent(
        f"shell{time.monotonic_ns()}",
        skills=[{"name": "shell", "type": "shell", "configuration": {"allowed_commands": allowed}}],
    )
    execution = stack.execute(f"demo:script {script}", agent=agent)
    assert stack.wait(execution)["status"] == "completed"
    done = [e["data"] for e in stack.events(execution) if e["event"] in ("tool_completed", "tool_failed")]
    return [f"{data.get('tool_output') or ''}{data.get('error') or ''}" for data in done]


PROBE = """\
import ctypes, json, os, socket, sys
from urllib.parse import urlsplit

def write(folder):
    path = f"{folder}/{os.getpid()}"
    open(path, "x").close()
    os.unlink(path)

def connect():
    url = urlsplit(sys.argv[1])
    socket.create_connection((url.hostname, url.port), 10).close()

def unshare():
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "no namespace")

def set_uid():
    path = f"{os.environ['STATE_DIRECTORY']}/uid"
    open(path, "w").close()
    os.chmod(path, 0o4700)

tries = {
    "write the state folder": lambda: write(os.environ["STATE_DIRECTORY"]),
    "write /srv/data": lambda: write("/srv/data"),
    "write /var/open": lambda: write("/var/open"),
    "write /opt/kubiya": lambda: write("/opt/kubiya"),
    "read /home/ada/project": lambda: open("/home/ada/project/file").read(),
    "read /root/open": lambda: open("/root/open/file").read(),
    "see what others left in /tmp": lambda: open("/tmp/of-others").read(),
    "read the key's file": lambda: open("/etc/kubiya-worker/kubiya-worker-default/api-key").read(),
    "open /dev/probe": lambda: open("/dev/probe", "rb").close(),
    "connect": connect,
    "packets": lambda: socket.socket(17, socket.SOCK_RAW, 0),
    "namespaces": unshare,
    "set-uid": set_uid,
    "AWS_ACCESS_KEY_ID": lambda: os.environ["AWS_ACCESS_KEY_ID"],
}
found = {}
for name, action in tries.items():
    try:
        action()
        found[name] = ""
    except Exception as error:
        found[name] = repr(error)
print("PROBE " + json.dumps(found), flush=True)
"""

PROGRAM = ("/opt/kubiya/bin/python", "/usr/local/lib/probe.py")


def prepare(machine: Machine) -> None:
    """Create the files that the probe tries to open: each is open to everybody, or to the group `data`."""
    machine.write("/usr/local/lib/probe.py", PROBE)
    machine.sh(
        "getent group data || groupadd data; mkdir -p /srv/data /var/open /home/ada/project /root/open;"
        "chown root:data /srv/data; chmod 2770 /srv/data; chmod 777 /var/open /opt/kubiya; chmod 755 /root;"
        "for f in /home/ada/project/file /root/open/file /tmp/of-others; do echo x >$f; chmod 644 $f; done;"
        "[ -e /dev/probe ] || mknod -m 666 /dev/probe c 1 3; mkdir -p /etc/kubiya-worker;"
        "(umask 077; echo AWS_ACCESS_KEY_ID=x >/etc/kubiya-worker/aws.env)"
    )


def probe(machine: Machine, stack: Stack, setting: str = "") -> dict[str, str]:
    """Run in the worker's place, as its unit runs it: what each try says, empty where it is open."""
    program = f"{' '.join(PROGRAM)} {stack.url}"
    place = f"[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nExecStart=\nExecStart={program}\n"
    drop_in(machine, f"{place}{setting}\n")
    machine.run("systemctl", "restart", UNIT)
    lines = [line for line in machine.journal(UNIT).splitlines() if line.startswith("PROBE ")]
    found: dict[str, str] = json.loads(lines[-1].removeprefix("PROBE "))
    return found


def test_it_is_active_once_it_polls_and_does_work(machine: Machine, stack: Stack) -> None:
    with RecordingProxy(free_port()) as temporal:  # nothing is behind it yet
        install(machine, stack, "--no-wait", TEMPORAL_HOST=temporal.url.removeprefix("http://"))
        wait_until(lambda: "Temporal" in machine.show(UNIT, "StatusText"), PATIENCE, "it says what it waits for")
        assert machine.show(UNIT, "ActiveState") == "activating"
        temporal.target = stack.temporal_port
        wait_until(lambda: machine.show(UNIT, "ActiveState") == "active", PATIENCE, "active")
        assert machine.show(UNIT, "StatusText") == "polling queue default"
        assert "worker.ready" in machine.journal(UNIT)
        (user,) = shell(stack, "id -un")
        assert user.strip() == UNIT  # a user that exists while the service runs


def test_a_killed_worker_is_restarted_by_systemd(machine: Machine, stack: Stack) -> None:
    assert "ready: it polls" in install(machine, stack)
    before = machine.show(UNIT, "MainPID")
    machine.run("systemctl", "kill", "-s", "KILL", UNIT)
    wait_until(lambda: machine.show(UNIT, "NRestarts") == "1", PATIENCE, "started again")
    wait_until(lambda: machine.show(UNIT, "ActiveState") == "active", PATIENCE, "active again")
    assert machine.show(UNIT, "MainPID") not in (before, "0")
    assert shell(stack, "echo back")[0].strip() == "back"


def test_a_stop_lets_running_work_finish(machine: Machine, stack: Stack) -> None:
    install(machine, stack)
    agent = stack.agent("sleeper", skills=[{"type": "sleep", "name": "sleep"}])
    execution = stack.execute(SLEEP % 5, agent=agent)
    stack.first(execution, "tool_started")
    machine.run("systemctl", "stop", UNIT)
    assert machine.show(UNIT, "ActiveState") == "inactive"
    assert (machine.show(UNIT, "Result"), machine.show(UNIT, "ExecMainStatus")) == ("success", "0")
    assert "worker.drained" in machine.journal(UNIT)
    machine.run("systemctl", "start", UNIT)
    assert stack.wait(execution)["status"] == "completed"
    ended = [e["event"] for e in stack.events(execution) if e["event"] in ("tool_completed", "tool_failed")]
    assert ended == ["tool_completed"]  # before the stop, and not repeated


def long_command(machine: Machine, stack: Stack) -> str:
    """Run a command that ends once its workspace has a gate, and return its execution, which waits for it."""
    program = "until test -e gate; do sleep 0.2; done; echo finished; exit 3"
    steps = [
        {"tools": [{"name": "shell_start", "arguments": {"command": f"sh -c '{program}'"}}]},
        {"tools": [{"name": "shell_wait", "arguments": {"seconds": 7200}}]},
        {"text": "done"},
    ]
    skill = {"allowed_commands": ["sh"], "long_commands": True, "long_timeout_seconds": 7200}
    skills = [{"name": "shell", "type": "shell", "configuration": skill}]
    agent = stack.agent(f"long{time.monotonic_ns()}", skills=skills)
    execution = stack.execute(f"demo:script {json.dumps(steps)}", agent=agent)
    started = (each["data"]["tool_name"] for each in stack.events(execution) if each["event"] == "tool_started")
    next(name for name in started if name == "shell_wait")
    wait_until(lambda: running_commands(machine) == 1, PATIENCE, "the command runs")
    return execution


def running_commands(machine: Machine) -> int:
    found = machine.sh(r"for f in /proc/[0-9]*/cmdline; do tr '\0' ' ' <$f; echo; done 2>/dev/null")
    return sum(line.startswith("sh -c until test -e gate") for line in found.splitlines())


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_long_command_outlives_its_unit_where_the_setting_says_so(machine: Machine, stack: Stack, how: str) -> None:
    install(machine, stack, KUBIYA_KEEP_LONG_COMMANDS="true")
    execution = long_command(machine, stack)
    if how == "kill":
        machine.run("systemctl", "kill", "--kill-who=main", "-s", "KILL", UNIT)
        wait_until(lambda: machine.show(UNIT, "NRestarts") == "1", PATIENCE, "started again")
    else:
        machine.run("systemctl", "stop", UNIT)
        assert machine.show(UNIT, "ActiveState") == "inactive"
        assert running_commands(machine) == 1, "it goes on"
        machine.run("systemctl", "start", UNIT)
    wait_until(lambda: machine.show(UNIT, "ActiveState") == "active", PATIENCE, "active again")
    machine.sh(f"touch /var/lib/private/kubiya-worker/default/workspaces/{execution}/gate")
    assert stack.wait(execution)["status"] == "completed"
    told = [each["data"] for each in stack.events(execution) if each["event"] == "tool_completed"]
    assert "finished" in json.dumps(told[-1]) and "exit code 3" in json.dumps(told[-1])
    assert running_commands(machine) == 0


def test_uninstalling_ends_long_commands_that_would_outlive_a_stop(machine: Machine, stack: Stack) -> None:
    install(machine, stack, KUBIYA_KEEP_LONG_COMMANDS="true")
    execution = long_command(machine, stack)
    machine.run(KUBIYA, "worker", "uninstall-service", "--system", "--queue-id", "default")
    wait_until(lambda: running_commands(machine) == 0, PATIENCE, "none is left")
    stack.call("POST", f"/executions/{execution}/cancel", {})


def test_without_the_setting_a_stop_of_the_unit_ends_long_commands(machine: Machine, stack: Stack) -> None:
    install(machine, stack)
    execution = long_command(machine, stack)
    machine.run("systemctl", "stop", UNIT)
    assert running_commands(machine) == 0
    machine.run("systemctl", "start", UNIT)
    assert stack.wait(execution)["status"] == "completed"
    told = [each["data"] for each in stack.events(execution) if each["event"] == "tool_completed"]
    assert "stopped: the worker was stopped" in json.dumps(told[-1])


def test_a_wrong_key_is_tried_once(machine: Machine, stack: Stack) -> None:
    wrong = machine.run(
        *(KUBIYA, "worker", "install-service", "--system", "--queue-id", "default"),
        check=False,
        env=variables(stack, KUBIYA_API_KEY="kby_wrong"),
    )
    assert wrong.returncode == 77 and "KUBIYA_API_KEY" in wrong.stderr
    assert machine.show(UNIT, "LoadState") == "not-found"  # found out before anything was written
    install(machine, stack)
    machine.write(f"/etc/kubiya-worker/{UNIT}/api-key", "kby_wrong\n")  # revoked, later
    assert machine.run("systemctl", "restart", UNIT, check=False).returncode
    assert machine.show(UNIT, "ActiveState") == "failed"  # one that was to be started again would be activating
    assert (machine.show(UNIT, "ExecMainStatus"), machine.show(UNIT, "NRestarts")) == ("77", "0")
    assert "refuses the API key" in machine.journal(UNIT)


def test_a_worker_without_a_sign_of_life_is_replaced(machine: Machine, stack: Stack) -> None:
    install(machine, stack, "--no-wait")
    drop_in(machine, "[Service]\nWatchdogSec=20\n")
    machine.run("systemctl", "restart", UNIT)
    pid = machine.show(UNIT, "MainPID")
    machine.run("systemctl", "kill", "-s", "STOP", UNIT)
    wait_until(lambda: machine.show(UNIT, "NRestarts") != "0", 120, "the watchdog has noticed")
    wait_until(lambda: machine.show(UNIT, "ActiveState") == "active", PATIENCE, "active again")
    assert machine.show(UNIT, "MainPID") != pid
    assert "most recent call first" in machine.journal(UNIT)  # where it hung


def test_it_is_exposed_by_2_0_at_most(machine: Machine, stack: Stack) -> None:
    install(machine, stack)
    said = machine.run("systemd-analyze", "security", "--no-pager", UNIT).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found
    print(f"systemd-analyze security: {found[1]}")
    assert float(found[1]) <= 2.0, said


def test_the_key_is_where_only_root_and_the_worker_look(machine: Machine, stack: Stack) -> None:
    install(machine, stack)
    shell(stack, "echo work")
    for command in (
        f"systemctl show {UNIT}; systemctl cat {UNIT}; systemctl status --no-pager -l {UNIT}",
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'",
        "journalctl --no-pager",
        "cat /etc/systemd/system/kubiya*",
        "find /var/lib/private /run /var/log -xdev -type f ! -path '/run/credentials/*' -exec cat {} + 2>/dev/null",
    ):
        # The command line of whoever looks does not count.
        assert stack.key not in machine.sh(command, check=False).replace(f"KUBIYA_API_KEY={stack.key}", ""), command
    files = machine.sh(f"grep -rlsF {stack.key[:20]} /etc /run /var; true").split()
    kept = f"/etc/kubiya-worker/{UNIT}/api-key"
    assert sorted(files) == [kept, f"/run/credentials/{UNIT}.service/api-key"]
    assert machine.sh(f"stat -c '%a %U' {kept} {kept.rpartition('/')[0]}").split() == ["600", "root", "700", "root"]
    for path in files:
        assert machine.run("cat", path, user="nobody", check=False).returncode


def test_what_the_unit_closes(machine: Machine, stack: Stack) -> None:
    """docs/daemon.md has this list."""
    prepare(machine)
    install(machine, stack)
    bare = json.loads(
        machine.run(*PROGRAM, stack.url, user="nobody", env={"STATE_DIRECTORY": "/var/open"}).stdout.removeprefix(
            "PROBE "
        )
    )
    private = {"write /srv/data", "read the key's file", "packets", "AWS_ACCESS_KEY_ID"}
    assert {name for name, error in bare.items() if error} == private, bare  # what any other program of the host can
    found = probe(machine, stack)
    assert {name for name, error in found.items() if not error} == {"write the state folder", "connect"}, found


@pytest.mark.parametrize(
    ("setting", "opens"),
    [
        pytest.param("SupplementaryGroups=data\nReadWritePaths=/srv/data", {"write /srv/data"}, id="folder"),
        pytest.param("ProtectHome=tmpfs\nBindReadOnlyPaths=/home/ada/project", {"read /home/ada/project"}, id="home"),
        pytest.param("PrivateDevices=no\nDeviceAllow=/dev/probe rw", {"open /dev/probe"}, id="device"),
        pytest.param(
            "PrivateUsers=no\nRestrictAddressFamilies=AF_PACKET\nCapabilityBoundingSet=CAP_NET_RAW\n"
            "AmbientCapabilities=CAP_NET_RAW",
            {"packets"},
            id="packets",
        ),
        pytest.param("EnvironmentFile=/etc/kubiya-worker/aws.env", {"AWS_ACCESS_KEY_ID"}, id="variables"),
    ],
)
def test_each_drop_in_of_the_docs_opens_what_it_says(
    setting: str, opens: set[str], machine: Machine, stack: Stack
) -> None:
    page = (ROOT / "docs" / "daemon.md").read_text()
    assert all(line in page for line in setting.replace("/dev/probe", "/dev/dri").splitlines()), setting
    prepare(machine)
    install(machine, stack)
    found = probe(machine, stack, setting)
    assert {name for name, error in found.items() if not error} == {"write the state folder", "connect", *opens}, found


def test_a_users_unit_sees_no_secrets_of_its_user(machine: Machine, stack: Stack) -> None:
    """The user lingers, so the unit also runs without a session."""
    machine.sh(
        "id ada 2>/dev/null || useradd -m ada; loginctl enable-linger ada; mkdir -p ~ada/.ssh;"
        "echo x >~ada/.ssh/id; chown -R ada: ~ada"
    )
    uid = machine.run("id", "-u", "ada").stdout.strip()
    own = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": f"/run/user/{uid}"}
    wait_until(
        lambda: machine.run("test", "-S", f"/run/user/{uid}/systemd/private", check=False).returncode == 0,
        PATIENCE,
        "the user's manager runs",
    )

    def ada(*argv: str) -> str:
        done = machine.run(*argv, user="ada", env={**own, **variables(stack)})
        return done.stdout + done.stderr

    said = ada(KUBIYA, "worker", "install-service", "--queue-id", "default")
    try:
        assert "ready: it polls" in said and "namespaces" not in said and "logs out" not in said
        assert shell(stack, "id -un")[0].strip() == "ada"
        tries = " ".join(
            f"; ({command}) 2>/dev/null >&2 && echo PROBE {name}"
            for name, command in {
                "state": "touch $$STATE_DIRECTORY/x",
                "home": "ls /home/ada/.config",
                "write-home": "touch /home/ada/x",
                "ssh": "cat /home/ada/.ssh/id",
                "key": "cat /home/ada/.kubiya/services/*/api-key",
                "tmp": "cat /tmp/of-others",
            }.items()
        )
        machine.sh("echo x >/tmp/of-others; chmod 644 /tmp/of-others")
        place = f'[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nExecStart=\nExecStart=sh -c "true{tries}; true"\n'
        folder = f"/home/ada/.config/systemd/user/{UNIT}.service.d"
        ada("bash", "-c", 'mkdir -p "$0" && printf %s "$1" >"$0/override.conf"', folder, place)
        ada("systemctl", "--user", "daemon-reload")
        ada("systemctl", "--user", "restart", UNIT)
        seen = machine.sh("journalctl --no-pager -o cat _SYSTEMD_USER_UNIT=" + f"{UNIT}.service | grep ^PROBE")
        assert seen.split() == ["PROBE", "state", "PROBE", "home"]
        ada("rm", "-r", folder)
    finally:
        said = ada(KUBIYA, "worker", "uninstall-service", "--queue-id", "default")
    assert "stopped, disabled and removed" in said
    left = machine.sh("find /home/ada /run/user -name '*kubiya*' -prune")
    assert sorted(left.split()) == ["/home/ada/.config/kubiya-worker", "/home/ada/.kubiya"]


def test_uninstalling_leaves_nothing_but_the_state(machine: Machine, stack: Stack) -> None:
    install(machine, stack)
    pid = machine.show(UNIT, "MainPID")
    done = machine.run(KUBIYA, "worker", "uninstall-service", "--system", "--queue-id", "default")
    assert "stopped, disabled and removed" in done.stderr
    assert machine.show(UNIT, "LoadState") == "not-found"
    assert machine.run("test", "-e", f"/proc/{pid}", check=False).returncode
    assert "worker.disconnected" in machine.journal(UNIT)
    left = machine.sh(
        "find / /run -xdev \\( -path /opt -o -path /proc -o -path /home -o -path '/var/lib/*/kubiya-worker/*' \\)"
        " -prune -o -name '*kubiya-worker*' -print"
    )
    assert sorted(left.split()) == ["/var/lib/kubiya-worker", "/var/lib/private/kubiya-worker"]
    again = machine.run(KUBIYA, "worker", "uninstall-service", "--system", "--queue-id", "default", check=False)
    assert again.returncode == 78 and "There is no service" in again.stderr
