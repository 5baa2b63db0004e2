"""The processes below this one, as Linux tells them."""

from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Return the processes that `pid` started, directly or not."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text()
        except OSError:
            continue  # it has just ended
        # the name, in parentheses, may hold spaces
        parent = int(status.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def title(pid: int) -> str:
    """Return the command line of a process, which Ray sets to what it runs; "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def training_workers(pid: int) -> list[int]:
    """Return the processes below `pid` in which Ray Train trains."""
    return [one for one in descendants(pid) if "RayTrainWorker" in title(one)]
