# SPDX-License-Identifier: Apache-2.0
#
# What a container may do that asks for no AppArmor profile of its own. It may use its files, its
# network and the capabilities it was given; it may not mount, and it may not change the kernel
# through /proc and /sys, even where these are shown to it writable. Needs no other file.

profile @NAME@ flags=(attach_disconnected,mediate_deleted) {
  capability,
  file,
  network,
  umount,

  # Processes of the same kind may signal and trace each other; the host's may signal them.
  signal (send, receive) peer=@NAME@,
  signal (receive) peer=unconfined,
  signal (receive) peer={runc,crun,youki,containerd-shim-crisp-v1,crisp},
  ptrace (trace, read, tracedby, readby) peer=@NAME@,

  deny mount,

  # The kernel's memory and its switches.
  deny /proc/kcore rwklx,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/{kmem,mem,kallsyms,timer_list,sched_debug} wklx,
  deny /proc/{acpi,asound,bus,driver,fs,irq,scsi,tty}/** wklx,

  # Of /proc/sys, what belongs to a namespace of the container's may be set: net, the IPC limits,
  # message queues.
  deny /proc/sys/[^fkn]*{,/**} wklx,
  deny /proc/sys/fs/[^m]*{,/**} wklx,
  deny /proc/sys/fs/m[^q]*{,/**} wklx,
  deny /proc/sys/kernel/[^ms]*{,/**} wklx,
  deny /proc/sys/kernel/m[^s]*{,/**} wklx,
  deny /proc/sys/kernel/s[^eh]*{,/**} wklx,
  deny /proc/sys/kernel/se[^m]*{,/**} wklx,
  deny /proc/sys/kernel/sh[^m]*{,/**} wklx,

  # Of /sys, only the container's own cgroup.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
