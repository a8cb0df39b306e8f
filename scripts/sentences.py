"""What the installer says, in English and in Simplified Chinese: gettext's catalogues need what it installs."""

import os

_SENTENCES = {
    # progress
    "start": ("Atrium: installing into {venv} ({engine})", "Atrium：正在安装到 {venv}（{engine}）"),
    "engine-none": ("no engine", "不含推理引擎"),
    "engine-cpu": ("engine for CPU", "CPU 推理引擎"),
    "engine-cuda": ("engine for NVIDIA GPUs", "NVIDIA GPU 推理引擎"),
    "waiting": ("another installation is running here, waiting for it", "此处正有另一次安装，等待其结束"),
    "venv": ("virtual environment", "虚拟环境"),
    "uv": ("installer", "安装工具"),
    "torch": ("torch for CPU", "CPU 版 torch"),
    "packages": ("{count} packages", "{count} 个软件包"),
    "bytecode": ("compiling for fast starts", "预编译以加快启动"),
    "assets": ("the console's files", "控制台的前端文件"),
    "printing": ("libraries and fonts for PDFs", "生成 PDF 所需的库与字体"),
    "done": ("installed in {seconds:.0f} s", "安装完成，用时 {seconds:.0f} 秒"),
    "still": ("still {name}, {seconds:.0f} s", "仍在进行：{name}，{seconds:.0f} 秒"),
    # failures: one sentence each, and each says what to do
    "old-python": (
        "Atrium needs Python 3.11 or newer and found {version}: install one (Debian and Ubuntu: apt install "
        "python3.11 python3.11-venv) or name it with make run PYTHON=/path/to/python3.",
        "Atrium 需要 Python 3.11 或更新版本，而这里是 {version}：请安装新版本（Debian、Ubuntu：apt install "
        "python3.11 python3.11-venv），或用 make run PYTHON=/path/to/python3 指定。",
    ),
    "no-venv": (
        "Python {version} is here without its venv module: install it (Debian and Ubuntu: apt install "
        "python{version}-venv) and start again.",
        "Python {version} 缺少 venv 模块：请安装它（Debian、Ubuntu：apt install python{version}-venv）后重试。",
    ),
    "bad-engine": (
        "ENGINE={value} is not known: use auto, cpu, cuda or none.",
        "不认识 ENGINE={value}：请用 auto、cpu、cuda 或 none。",
    ),
    "port": (
        "Port {port} is taken by another program: stop it, or choose another port with make run PORT={other}.",
        "端口 {port} 已被其他程序占用：请停止该程序，或用 make run PORT={other} 换一个端口。",
    ),
    "bad-port": (
        "PORT={value} is not a port: use a number from 1 to 65535.",
        "PORT={value} 不是端口号：请用 1 到 65535 的数字。",
    ),
    "disk": (
        "The installation needs {need:.0f} GB of free disk at {path} and there are {free:.1f}: free some, or leave the "
        "engine out with ENGINE=none (1 GB).",
        "安装需要 {path} 处有 {need:.0f} GB 可用磁盘，现在只有 {free:.1f} GB：请腾出空间，或用 ENGINE=none"
        "（1 GB）不装推理引擎。",
    ),
    "space": (
        "The disk became full during the installation: free {need:.0f} GB at {path} and start again.",
        "安装过程中磁盘写满：请在 {path} 处腾出 {need:.0f} GB 后重试。",
    ),
    "no-assets": (
        "The console's files cannot be built: npm or esbuild failed. What they said: {log}",
        "无法构建控制台的前端文件：npm 或 esbuild 出错，详情：{log}",
    ),
    "network": (
        "The package index cannot be reached: check the network and the proxy settings (https_proxy, pip.conf) and "
        "start again; what was downloaded is kept. Details: {log}",
        "无法连接软件包索引：请检查网络与代理设置（https_proxy、pip.conf）后重试，已下载的内容会保留。"
        "详情：{log}",
    ),
    "index": (
        "The package index answers, but not with the files that the lock names: check the index that pip is "
        "configured to use (pip config list) and start again. Details: {log}",
        "软件包索引有应答，但没有锁文件所列的文件：请检查 pip 配置的索引（pip config list）后重试。详情：{log}",
    ),
    "no-torch": (
        "PyTorch's CPU build {version} for Python {python} is in no configured package index, and "
        "download.pytorch.org cannot be reached: allow that host, or name a folder that holds the wheel with "
        "PIP_FIND_LINKS, or leave the engine out with ENGINE=none. Details: {log}",
        "所配置的软件包索引中都没有 Python {python} 可用的 PyTorch CPU 版 {version}，download.pytorch.org 也无法"
        "连接：请放行该主机，或用 PIP_FIND_LINKS 指定存有该文件的目录，或用 ENGINE=none 不装推理引擎。详情：{log}",
    ),
    "write": (
        "{path} cannot be written: make it writable for this user, or clone the repository elsewhere.",
        "无法写入 {path}：请让当前用户可写，或把仓库克隆到别处。",
    ),
    "interrupted": (
        "The installation was interrupted: start it again, what was downloaded is kept.",
        "安装被中断：请重新开始，已下载的内容会保留。",
    ),
    "failed": (
        "The installation failed at “{step}”: see {log}, and start again.",
        "安装在“{step}”一步失败：请查看 {log} 后重试。",
    ),
}


def _chinese() -> bool:
    value = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return value.startswith("zh")


def say(key: str, **values: object) -> str:
    """The sentence `key` in the language of the terminal."""
    return _SENTENCES[key][1 if _chinese() else 0].format(**values)
