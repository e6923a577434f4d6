#!/usr/bin/env python3
"""Packs a root file system into a docker-archive image tar."""
import argparse
import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


def sha256_of(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("rootfs")
    p.add_argument("ref")
    p.add_argument("out")
    p.add_argument("--entrypoint", action="append")
    p.add_argument("--cmd", action="append")
    p.add_argument("--env", action="append", default=[])
    p.add_argument("--user")
    a = p.parse_args()

    layer = a.out + ".layer"
    subprocess.check_call(
        ["tar", "-C", a.rootfs, "--numeric-owner", "--sort=name", "-cf", layer, "."]
    )
    digest = sha256_of(layer)
    machine = platform.machine()
    config = json.dumps(
        {
            "architecture": ARCH.get(machine, machine),
            "os": "linux",
            "config": {"Env": [PATH] + a.env, "Entrypoint": a.entrypoint, "Cmd": a.cmd, "User": a.user},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]},
        }
    ).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    layer_name = digest + "/layer.tar"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [a.ref], "Layers": [layer_name]}]).encode()

    with tarfile.open(a.out, "w") as t:
        for name, data in ((config_name, config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
        t.add(layer, layer_name)
    os.unlink(layer)


if __name__ == "__main__":
    main()
