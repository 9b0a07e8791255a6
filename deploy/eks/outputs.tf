output "target_group_arn" {
  description = "For tgb.yaml, in place of <Target Group ARN>."
  value       = aws_lb_target_group.gateway.arn
}

output "security_group_id" {
  description = "For tgb.yaml, in place of <Security Group ID>: the load balancer's."
  value       = local.security_group_id
}

output "account_id" {
  description = "For serviceaccount.yaml and reviewapp.yaml, in place of <AWS ACCOUNT ID>."
  value       = data.aws_caller_identity.this.account_id
}

output "region" {
  description = "For reviewapp.yaml, in place of <Region>."
  value       = data.aws_region.this.region
}

output "app_role_arn" {
  description = "Role of the environments' pods: what the annotation in serviceaccount.yaml says when it is filled in."
  value       = aws_iam_role.this["app"].arn
}

output "webhook_target_group_arn" {
  description = "For manifests/webhook.yaml, in place of <Webhook Target Group ARN>."
  value       = one(aws_lb_target_group.webhook[*].arn)
}

output "environment_manifests" {
  description = "serviceaccount.yaml and tgb.yaml, filled in, for the namespace of the environments."
  value = join("---\n", [
    for file in ["serviceaccount.yaml", "tgb.yaml"] :
    replace(replace(replace(file("${path.module}/manifests/${file}"),
      "<AWS ACCOUNT ID>", data.aws_caller_identity.this.account_id),
      "<Target Group ARN>", aws_lb_target_group.gateway.arn),
    "<Security Group ID>", local.security_group_id)
  ])
}

output "webhook_manifest" {
  description = "manifests/webhook.yaml, filled in, for the namespace that Greenroom is installed in."
  value = var.webhook_label == null ? null : replace(replace(file("${path.module}/manifests/webhook.yaml"),
    "<Webhook Target Group ARN>", one(aws_lb_target_group.webhook).arn),
  "<Security Group ID>", local.security_group_id)
}

output "webhook_url" {
  description = "What to enter in GitHub."
  value       = var.webhook_label == null ? null : "https://${local.webhook_host}/webhooks"
}

output "load_balancer_name" {
  description = "DNS name of the load balancer, which *.<domain> leads to."
  value       = local.load_balancer_dns
}

output "controller_role_arn" {
  description = "For the annotation eks.amazonaws.com/role-arn of the AWS Load Balancer Controller's account, if controller_service_account was given."
  value       = try(aws_iam_role.this["controller"].arn, null)
}

output "ecr_role_arn" {
  description = "For the annotation eks.amazonaws.com/role-arn of ecr_service_account, if ecr_repository_arns were given."
  value       = try(aws_iam_role.this["ecr"].arn, null)
}

output "push_role_arn" {
  description = "For the input aws-role of the workflow in deploy/github, if github_repository was given."
  value       = one(aws_iam_role.push[*].arn)
}
