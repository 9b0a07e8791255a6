# Pods are registered by their address, by the TargetGroupBindings of manifests/. Nothing here knows a pod.

resource "aws_lb_target_group" "gateway" {
  name                 = "${var.name}-gateway"
  vpc_id               = local.vpc_id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = local.gateway_port
  deregistration_delay = 30

  health_check {
    protocol            = "HTTP"
    port                = local.ready_port
    path                = local.ready_path
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_target_group" "webhook" {
  count = var.webhook_label == null ? 0 : 1

  name                 = "${var.name}-webhook"
  vpc_id               = local.vpc_id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = local.webhook_port
  deregistration_delay = 30

  health_check {
    protocol            = "HTTP"
    path                = "/readyz"
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}
