#!/usr/bin/env python3
"""A CPI of another author and language: keeps everything in one file, speaks API v2, logs a lot, forgets keys.

MEMORY_CPI_STATE names the file. MEMORY_CPI_MODE makes it misbehave: hang, crash, banner, exit-code, retry-once, v1,
string-for-v2, leak-secret.
"""
import json
import os
import sys
import time
import uuid

STATE = os.environ["MEMORY_CPI_STATE"]
MODE = os.environ.get("MEMORY_CPI_MODE", "")


class CpiError(Exception):
    def __init__(self, kind, message, ok_to_retry=False):
        super().__init__(message)
        self.kind = "Bosh::Clouds::" + kind
        self.ok_to_retry = ok_to_retry


def load():
    try:
        with open(STATE, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {"stemcell": {}, "vm": {}, "disk": {}, "snapshot": {}, "calls": []}


def need(state, kind, cid, error):
    if cid not in state[kind]:
        raise CpiError(error, "%s '%s' not found" % (kind, cid))
    return state[kind][cid]


def make(state, kind, value):
    cid = kind + "-" + str(uuid.uuid4())
    state[kind][cid] = value
    return cid


def call(state, method, args, version):
    if method == "info":
        result = {"stemcell_formats": ["memory-raw"]}
        if MODE != "v1":
            result["api_version"] = 2
        return result
    if method == "create_stemcell":
        return make(state, "stemcell", {"image": args[0]})
    if method == "delete_stemcell":
        state["stemcell"].pop(args[0], None)
        return None
    if method == "create_vm":
        need(state, "stemcell", args[1], "CloudError")
        cid = make(state, "vm", {"agent": args[0], "networks": args[3], "disks": []})
        if version < 2 or MODE == "string-for-v2":
            return cid
        return [cid, args[3]]
    if method == "delete_vm":
        need(state, "vm", args[0], "VMNotFound")
        del state["vm"][args[0]]
        return None
    if method == "has_vm":
        return args[0] in state["vm"]
    if method in ("reboot_vm", "set_vm_metadata"):
        need(state, "vm", args[0], "VMNotFound")
        return None
    if method == "create_disk":
        return make(state, "disk", {"size": args[0]})
    if method == "delete_disk":
        need(state, "disk", args[0], "DiskNotFound")
        if any(args[0] in vm["disks"] for vm in state["vm"].values()):
            raise CpiError("CloudError", "disk '%s' is attached" % args[0])
        del state["disk"][args[0]]
        return None
    if method == "has_disk":
        return args[0] in state["disk"]
    if method == "attach_disk":
        vm = need(state, "vm", args[0], "VMNotFound")
        need(state, "disk", args[1], "DiskNotFound")
        if args[1] not in vm["disks"]:
            vm["disks"].append(args[1])
        return "/dev/sdc" if version >= 2 else None
    if method == "detach_disk":
        vm = need(state, "vm", args[0], "VMNotFound")
        if args[1] not in vm["disks"]:
            raise CpiError("DiskNotAttached", "disk '%s' is not attached" % args[1], True)
        vm["disks"].remove(args[1])
        return None
    if method == "get_disks":
        return need(state, "vm", args[0], "VMNotFound")["disks"]
    if method == "resize_disk":
        disk = need(state, "disk", args[0], "DiskNotFound")
        if args[1] < disk["size"]:
            raise CpiError("NotSupported", "disks do not shrink")
        disk["size"] = args[1]
        return None
    raise CpiError("NotImplemented", "Method is not known, got: '%s'" % method)


def main():
    request = json.load(sys.stdin)
    method, context = request["method"], request["context"]
    if "microbosh" in context:
        raise SystemExit("a token reached a CPI that does not know it")
    state = load()
    for number in range(200):
        print("debug line %d of %s" % (number, method), file=sys.stderr)
    if method != "info":
        if MODE == "hang":
            time.sleep(600)
        if MODE == "crash":
            print("Traceback: something broke", file=sys.stderr)
            raise SystemExit(3)
        if MODE == "leak-secret":
            print("the password is correct-horse-battery", file=sys.stderr)
        if MODE == "banner":
            print("Welcome to this CPI")
    state["calls"].append([method, request.get("api_version"), len(request["arguments"])])
    response = {"result": None, "error": None}
    try:
        if MODE == "retry-once" and method == "create_vm":
            if [entry[0] for entry in state["calls"]].count("create_vm") < 2:
                raise CpiError("VMCreationFailed", "quota of the moment", True)
        response["result"] = call(state, method, request["arguments"], request.get("api_version", 1))
    except CpiError as error:
        message = str(error)
        if MODE == "leak-secret":
            message += " with correct-horse-battery"
        response["error"] = {"type": error.kind, "message": message, "ok_to_retry": error.ok_to_retry}
    with open(STATE, "w", encoding="utf-8") as file:
        json.dump(state, file)
    json.dump(response, sys.stdout)
    sys.stdout.flush()
    if MODE == "exit-code":
        raise SystemExit(1)


main()
