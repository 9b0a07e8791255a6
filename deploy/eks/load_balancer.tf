# The load balancer: made here, or the one that load_balancer_arn names. Both get the same two rules.

locals {
  make_load_balancer = var.load_balancer_arn == null

  listener_arn      = one(concat(aws_lb_listener.https[*].arn, data.aws_lb_listener.existing[*].arn))
  load_balancer_dns = one(concat(aws_lb.this[*].dns_name, data.aws_lb.existing[*].dns_name))
  hosted_zone_id    = one(concat(aws_lb.this[*].zone_id, data.aws_lb.existing[*].zone_id)) # of AWS, for the alias
  security_group_id = local.make_load_balancer ? one(aws_security_group.load_balancer[*].id) : sort(one(data.aws_lb.existing[*].security_groups))[0]
}

data "aws_lb" "existing" {
  count = local.make_load_balancer ? 0 : 1

  arn = var.load_balancer_arn
}

data "aws_lb_listener" "existing" {
  count = local.make_load_balancer ? 0 : 1

  load_balancer_arn = var.load_balancer_arn
  port              = 443
}

# The listener keeps its certificates, and shows this one to whoever asks for a host of the domain.
resource "aws_lb_listener_certificate" "existing" {
  count = local.make_load_balancer ? 0 : 1

  listener_arn    = one(data.aws_lb_listener.existing).arn
  certificate_arn = aws_acm_certificate_validation.wildcard.certificate_arn
}

resource "aws_lb" "this" {
  count = local.make_load_balancer ? 1 : 0

  name                       = var.name
  load_balancer_type         = "application"
  internal                   = var.internal
  subnets                    = var.subnet_ids
  security_groups            = [one(aws_security_group.load_balancer).id]
  drop_invalid_header_fields = true
  preserve_host_header       = true # the gateway finds the environment by it

  lifecycle {
    precondition {
      condition     = length(var.subnet_ids) > 1
      error_message = "A load balancer takes subnet_ids in two availability zones or more."
    }
    precondition {
      condition     = length(var.allowed_cidrs) > 0
      error_message = "With no allowed_cidrs nobody could reach the load balancer."
    }
  }
}

resource "aws_lb_listener" "https" {
  count = local.make_load_balancer ? 1 : 0

  load_balancer_arn = one(aws_lb.this).arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = var.ssl_policy
  certificate_arn   = aws_acm_certificate_validation.wildcard.certificate_arn

  # Whoever asks for another host, or by address, does not reach the cluster.
  default_action {
    type = "fixed-response"

    fixed_response {
      content_type = "text/plain"
      message_body = "Not found"
      status_code  = "404"
    }
  }
}

resource "aws_lb_listener" "http" {
  count = local.make_load_balancer ? 1 : 0

  load_balancer_arn = one(aws_lb.this).arn
  port              = 80
  protocol          = "HTTP"

  default_action {
    type = "redirect"

    redirect {
      protocol    = "HTTPS"
      port        = "443"
      status_code = "HTTP_301"
    }
  }
}

# The wildcard matches the webhook's host, too. So this rule comes before the other.
resource "aws_lb_listener_rule" "webhook" {
  count = var.webhook_label == null ? 0 : 1

  listener_arn = local.listener_arn
  priority     = var.rule_priority

  condition {
    host_header {
      values = [local.webhook_host]
    }
  }

  condition {
    path_pattern {
      values = ["/webhooks"]
    }
  }

  action {
    type             = "forward"
    target_group_arn = one(aws_lb_target_group.webhook).arn
  }
}

resource "aws_lb_listener_rule" "gateway" {
  listener_arn = local.listener_arn
  priority     = var.rule_priority + 1

  condition {
    host_header {
      values = ["*.${var.domain}"]
    }
  }

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gateway.arn
  }
}

resource "aws_route53_record" "wildcard" {
  zone_id = var.zone_id
  name    = "*.${var.domain}"
  type    = "A"

  alias {
    name                   = local.load_balancer_dns
    zone_id                = local.hosted_zone_id
    evaluate_target_health = false
  }
}
