#!/usr/bin/env python3
"""Runs a command under a seccomp profile as a container engine would: confine.py PROFILE COMMAND...

Reads the form of profile that Docker and Podman take, and applies it by libseccomp for a container with an
engine's usual capabilities. What it does not know in a profile is an error.
"""

import ctypes
import errno
import json
import os
import sys
from typing import Any

Rule = dict[str, Any]

CAPABILITIES = {"CAP_SYS_CHROOT"}
"""Those that a container usually has, of all that rules of a profile depend on."""

ACTIONS = {"SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_ERRNO": 0x00050000}  # the latter with the errno added
OPERATORS = {f"SCMP_CMP_{name}": n for n, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), 1)}
KEYS = {"comment", "names", "action", "errnoRet", "args", "includes", "excludes"}

seccomp = ctypes.CDLL("libseccomp.so.2")
seccomp.seccomp_init.restype = ctypes.c_void_p


class Comparison(ctypes.Structure):
    """An argument of a system call, compared with a value."""

    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("value_two", ctypes.c_uint64),
    )


def check(result: int, *, but: int = 0) -> None:
    """Raise OSError if libseccomp answers with an error."""
    if result < 0 and result != -but:
        raise OSError(-result, os.strerror(-result))


def applies(rule: Rule) -> bool:
    """Tell whether the rule is one for a container of CAPABILITIES."""
    includes, excludes = rule.get("includes", {}), rule.get("excludes", {})
    if unknown := rule.keys() - KEYS | (includes.keys() | excludes.keys()) - {"caps"}:
        raise ValueError(f"a rule for {rule['names']} has {unknown}")
    return CAPABILITIES.issuperset(includes.get("caps", ())) and CAPABILITIES.isdisjoint(excludes.get("caps", ()))


def add(context: ctypes.c_void_p, rule: Rule) -> None:
    """Add one rule to the filter."""
    action = ACTIONS[rule["action"]] + rule.get("errnoRet", 0)
    given = [
        Comparison(each["index"], OPERATORS[each["op"]], each["value"], each.get("valueTwo", 0))
        for each in rule.get("args", ())
    ]
    for name in rule["names"]:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number != -1:  # not newer than this libseccomp; engines pass over such names, too
            comparisons = (Comparison * len(given))(*given)
            check(seccomp.seccomp_rule_add_array(context, action, number, len(given), comparisons))


def confine(profile: dict[str, Any]) -> None:
    """Put this process, and what it becomes, under the profile."""
    context = ctypes.c_void_p(seccomp.seccomp_init(ACTIONS[profile["defaultAction"]] + profile["defaultErrnoRet"]))
    native = seccomp.seccomp_arch_native()
    for family in profile["archMap"]:
        names = [name[len("SCMP_ARCH_") :] for name in (family["architecture"], *family["subArchitectures"])]
        tokens = [seccomp.seccomp_arch_resolve_name(name.lower().encode()) for name in names]
        if native in tokens:
            for token in tokens:
                check(seccomp.seccomp_arch_add(context, ctypes.c_uint32(token)), but=errno.EEXIST)
    for rule in filter(applies, profile["syscalls"]):
        add(context, rule)
    check(seccomp.seccomp_load(context))


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        confine(json.load(file))
    os.execvp(sys.argv[2], sys.argv[2:])
