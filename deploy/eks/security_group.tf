# In: HTTP and HTTPS from allowed_cidrs. Out: the ports of the pods. The way from here into the nodes' security group is
# opened by the AWS Load Balancer Controller, as the TargetGroupBindings say.

locals {
  ingress = {
    for pair in setproduct(local.make_load_balancer ? var.allowed_cidrs : [], [80, 443]) :
    "${pair[0]}:${pair[1]}" => { cidr = pair[0], port = tonumber(pair[1]) }
  }
  egress_ports = toset([
    for port in concat([local.gateway_port, local.ready_port], var.webhook_label == null ? [] : [local.webhook_port]) :
    tostring(port) if local.make_load_balancer
  ])
}

resource "aws_security_group" "load_balancer" {
  count = local.make_load_balancer ? 1 : 0

  name        = "${var.name}-load-balancer"
  description = "Load balancer of the preview environments"
  vpc_id      = local.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "load_balancer" {
  for_each = local.ingress

  security_group_id = one(aws_security_group.load_balancer).id
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "load_balancer" {
  for_each = local.egress_ports

  security_group_id            = one(aws_security_group.load_balancer).id
  referenced_security_group_id = local.node_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = tonumber(each.value)
  to_port                      = tonumber(each.value)
}
