/*
 * The few kernel definitions that libc's own headers lack or hide, so that the addon compiles where
 * only a compiler and libc's headers are installed. Values are part of the kernel's stable ABI.
 */
#ifndef TSGOST_KERNEL_H
#define TSGOST_KERNEL_H

#include <stdint.h>
#include <sys/ioctl.h>

/* linux/if_tun.h */
#define TUN_IFF_TUN 0x0001
#define TUN_IFF_TAP 0x0002
#define TUN_IFF_MULTI_QUEUE 0x0100
#define TUN_IFF_NO_PI 0x1000
#define TUN_IFF_VNET_HDR 0x4000
#define TUN_SET_IFF _IOW('T', 202, int)
#define TUN_SET_OFFLOAD _IOW('T', 208, unsigned int)
#define TUN_GET_IFF _IOR('T', 210, unsigned int)
#define TUN_GET_VNET_HDR_SIZE _IOR('T', 215, int)
#define TUN_SET_VNET_HDR_SIZE _IOW('T', 216, int)
#define TUN_CSUM 0x01
#define TUN_TSO4 0x02
#define TUN_TSO6 0x04
#define TUN_USO4 0x20
#define TUN_USO6 0x40

/* linux/udp.h */
#define KERNEL_SOL_UDP 17
#define KERNEL_UDP_SEGMENT 103
#define KERNEL_UDP_GRO 104
/* Most segments that any kernel takes in one UDP_SEGMENT send. */
#define KERNEL_UDP_SEGMENTS_MAX 64

/* linux/in.h, linux/in6.h */
#define KERNEL_IP_RECVERR 11
#define KERNEL_IP_BIND_ADDRESS_NO_PORT 24
#define KERNEL_IPV6_RECVERR 25

/* linux/icmp.h, linux/icmpv6.h */
#define KERNEL_SOL_RAW 255
#define KERNEL_ICMP_FILTER 1
#define KERNEL_ICMPV6_FILTER 1

/* linux/errqueue.h */
struct kernel_extended_err {
  uint32_t err;
  uint8_t origin;
  uint8_t type;
  uint8_t code;
  uint8_t pad;
  uint32_t info;
  uint32_t data;
};
#define KERNEL_ORIGIN_LOCAL 1
#define KERNEL_ORIGIN_ICMP6 3

/* linux/netlink.h */
struct kernel_sockaddr_nl {
  uint16_t family;
  uint16_t pad;
  uint32_t pid;
  uint32_t groups;
};
struct kernel_nlmsghdr {
  uint32_t len;
  uint16_t type;
  uint16_t flags;
  uint32_t seq;
  uint32_t pid;
};
#define KERNEL_NETLINK_ROUTE 0
#define KERNEL_SOL_NETLINK 270
#define KERNEL_NETLINK_CAP_ACK 10
#define KERNEL_NETLINK_EXT_ACK 11
#define KERNEL_NLMSG_ERROR 2
#define KERNEL_NLMSG_DONE 3

#endif
