"""A node: containerd with runc and CNI, kubelet, kube-proxy, the scheduler that gives it pods, and CoreDNS.

Pods find Services by name, and no other name leads anywhere. Every image, whatever registry its name has, comes from
the tests' own. On a node like this a pod is as in production; what a cloud adds, such as load balancers, is not there.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import yaml
from tests.cluster.node.images import PAUSE
from tests.cluster.node.machine import CGROUP, NODE, PODS, Machine
from tests.cluster.programs import Programs

from greenroom.model.manifest import Json

NAME = "node"
DOMAIN = "cluster.local"
"""The end of every Service's name, as in most clusters."""

_DNS_PORT = 53  # the kubelet knows no other


class Node:
    """Its programs run in ``machine``; ``registry`` is the address of the one that has the images."""

    def __init__(self, folder: Path, programs: Programs, machine: Machine, kubeconfig: Path, registry: str) -> None:
        self._folder = folder
        self._programs = programs
        self._machine = machine
        self._kubeconfig = kubeconfig
        self._registry = registry
        self._socket = folder / "containerd.sock"

    def start(self) -> None:
        """It is ready some time later, when the API server has heard of it."""
        self._programs.start("kube-scheduler", f"--kubeconfig={self._kubeconfig}", "--leader-elect=false")
        self._start_containerd()
        self._start_dns()
        kubelet = self._write("kubelet.yaml", self._kubelet())
        own = (f"--kubeconfig={self._kubeconfig}", f"--hostname-override={NAME}", f"--node-ip={NODE}")
        self._start("kubelet", f"--config={kubelet}", f"--root-dir={self._folder / 'kubelet'}", *own)
        self._start("kube-proxy", f"--config={self._write('kube-proxy.yaml', self._kube_proxy())}")

    def said(self) -> str:
        """The ends of its programs' logs."""
        programs = ("containerd", "coredns", "kubelet", "kube-proxy", "kube-scheduler")
        return "\n".join(f"{program}:\n{self._programs.said(program)}" for program in programs)

    def _start_containerd(self) -> None:
        networks = self._folder / "networks"
        networks.mkdir()
        (networks / "pods.conflist").write_text(json.dumps(_pod_network(self._folder)))
        registries = self._folder / "registries" / "_default"
        registries.mkdir(parents=True)
        (registries / "hosts.toml").write_text(f'server = "http://{self._registry}"\n[host]\n')
        config = self._folder / "containerd.toml"
        config.write_text(self._containerd(networks, registries.parent))
        self._start("containerd", f"--config={config}")
        self._programs.wait("containerd", self._socket.exists)

    def _start_dns(self) -> None:
        """It runs on the node itself, and listens once it knows the Services that are there."""
        config = self._folder / "Corefile"
        config.write_text(self._corefile())
        self._start("coredns", f"-conf={config}")
        self._programs.wait("coredns", lambda: _listens(_DNS_PORT))

    def _corefile(self) -> str:
        return f"""\
{DOMAIN}:{_DNS_PORT} {{
  errors
  kubernetes {DOMAIN} {{
    kubeconfig {self._kubeconfig}
  }}
}}
"""

    def _containerd(self, networks: Path, registries: Path) -> str:
        return f"""\
version = 2
root = "{self._folder / "containerd"}"
state = "/run/containerd"
[grpc]
  address = "{self._socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{self._registry}/{PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true # root may not be allowed to lower it, as in a container; runc then gives up
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{networks}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{registries}"
"""

    def _kubelet(self) -> Json:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{CGROUP}",
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "protectKernelDefaults": True,
            "resolvConf": "",
            "clusterDNS": [NODE],
            "clusterDomain": DOMAIN,
            "evictionHard": {"memory.available": "100Mi"},  # whatever else is on the disk of this machine
            "imageGCHighThresholdPercent": 100,
        }

    def _kube_proxy(self) -> Json:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self._kubeconfig)},
            "mode": "iptables",
            "iptables": {"minSyncPeriod": "0.1s"},
            "clusterCIDR": PODS,
            "hostnameOverride": NAME,
            "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }

    def _write(self, name: str, config: Json) -> Path:
        file = self._folder / name
        file.write_text(yaml.safe_dump(config))
        return file

    def _start(self, program: str, *arguments: str) -> None:
        self._programs.start(program, *arguments, within=self._machine.within)


def _listens(port: int) -> bool:
    """Whether somebody does, on the node."""
    try:
        socket.create_connection((NODE, port), timeout=1).close()
    except OSError:
        return False
    return True


def _pod_network(folder: Path) -> Json:
    """A link from the node to each pod, without a bridge: pods reach each other, and Services, by way of the node."""
    addresses: Json = {
        "type": "host-local",
        "dataDir": str(folder / "addresses"),
        "ranges": [[{"subnet": PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    link: Json = {"type": "ptp", "ipMasq": False, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [link]}
