# One certificate for all hosts. The record that proves the domain stays, for ACM renews the certificate by it.

resource "aws_acm_certificate" "wildcard" {
  domain_name       = "*.${var.domain}"
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = endswith(".${var.domain}", ".${trimsuffix(data.aws_route53_zone.this.name, ".")}")
      error_message = "The domain ${var.domain} is not in the zone ${data.aws_route53_zone.this.name}."
    }
  }
}

locals {
  validation = one(aws_acm_certificate.wildcard.domain_validation_options)
}

resource "aws_route53_record" "validation" {
  zone_id = var.zone_id
  name    = local.validation.resource_record_name
  type    = local.validation.resource_record_type
  records = [local.validation.resource_record_value]
  ttl     = 300
}

resource "aws_acm_certificate_validation" "wildcard" {
  certificate_arn         = aws_acm_certificate.wildcard.arn
  validation_record_fqdns = [aws_route53_record.validation.fqdn]
}
