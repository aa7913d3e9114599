"""The one utility that the child calls; the guard ends whatever is left."""


def kill_process_tree(parent_pid: int, *, include_parent: bool) -> None:
    return
